//! request-validation: headers and body must fit a JSON Schema.

use std::sync::Arc;

use gantry_routing::OwnSchema;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Flow, Kind, Place, Plugin, config, url};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "request-validation", compile: RequestValidation::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    header_schema: Option<Value>,
    body_schema: Option<Value>,
    max_req_body_size: u64,
    rejected_code: u16,
    rejected_msg: Option<String>,
}

struct RequestValidation {
    headers: Option<OwnSchema>,
    body: Option<Arc<BodyRules>>,
    limit: u64,
    refusal: Refusal,
}

struct BodyRules {
    schema: OwnSchema,
    refusal: Refusal,
}

#[derive(Clone)]
struct Refusal {
    status: StatusCode,
    /// In place of what is wrong.
    message: Option<String>,
}

impl Refusal {
    fn answer(&self, reason: String) -> Flow {
        Answer::text(self.status, self.message.clone().unwrap_or(reason)).into()
    }
}

impl RequestValidation {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let refusal =
            Refusal { status: config::status(config.rejected_code)?, message: config.rejected_msg };
        let schema = |source: &Option<Value>, name: &str| {
            let compiled = source.as_ref().map(OwnSchema::compile).transpose();
            compiled.map_err(|error| format!("`{name}`: {error}"))
        };
        let body = schema(&config.body_schema, "body_schema")?
            .map(|schema| Arc::new(BodyRules { schema, refusal: refusal.clone() }));
        let headers = schema(&config.header_schema, "header_schema")?;
        Ok(Arc::new(Self { headers, body, limit: config.max_req_body_size, refusal }))
    }
}

impl Plugin for RequestValidation {
    fn rewrite(&self, _exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if let Some(schema) = &self.headers
            && let Err(reason) = schema.check(&mut by_name(&request.headers))
        {
            return self.refusal.answer(reason);
        }
        let Some(rules) = &self.body else { return Flow::Next };
        let mut kinds = request.headers.get_all(CONTENT_TYPE).iter();
        let form = kinds
            .next()
            .is_some_and(|kind| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
        if kinds.next().is_some() {
            return self.refusal.answer("there is more than one Content-Type".to_owned());
        }
        let rules = Arc::clone(rules);
        Flow::body(self.limit, move |exchange, _request| rules.check(exchange, form))
    }
}

impl BodyRules {
    fn check(&self, exchange: &mut Exchange, form: bool) -> Flow {
        let body = exchange.body.as_deref().unwrap_or_default();
        if body.is_empty() {
            return match &self.refusal.message {
                Some(message) => self.refusal.answer(message.clone()),
                None => Answer::page(self.refusal.status).into(),
            };
        }
        let checked = if form {
            self.schema.check(&mut by_field(&String::from_utf8_lossy(body)))
        } else {
            self.json(body).map(|fresh| {
                exchange.body = Some(fresh.into());
                exchange.document.take();
            })
        };
        match checked {
            Ok(()) => Flow::Next,
            Err(reason) => self.refusal.answer(reason),
        }
    }

    /// The body as it goes on: with the schema's defaults.
    fn json(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let mut document = serde_json::from_slice(body)
            .map_err(|error| format!("the body is not JSON: {error}"))?;
        self.schema.check(&mut document)?;
        serde_json::to_vec(&document).map_err(|error| error.to_string())
    }
}

/// Headers as an object: texts, or lists of texts for those that are repeated.
fn by_name(headers: &HeaderMap) -> Value {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    gathered(headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))))
}

/// Form data as an object, in the same way.
fn by_field(form: &str) -> Value {
    let pairs = form.split('&').filter(|pair| !pair.is_empty());
    gathered(pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (url::decode(name).into_owned(), url::decode(value).into_owned())
    }))
}

fn gathered(pairs: impl Iterator<Item = (String, String)>) -> Value {
    let mut object = Map::new();
    for (name, text) in pairs {
        let text = Value::String(text);
        match object.get_mut(&name) {
            None => {
                object.insert(name, text);
            }
            Some(Value::Array(values)) => values.push(text),
            Some(value) => *value = Value::Array(vec![value.take(), text]),
        }
    }
    Value::Object(object)
}
