//! mocking: answers with an example, or with something made up by a schema, without an upstream. `x-mock-by`
//! names this gateway, as `Server` does.

use std::{sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE};
use pingora::http::RequestHeader;
use rand::Rng;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Flow, Kind, Place, Plugin, config, headers::Fields};
use crate::{answer::Answer, exchange::Exchange, status::VERSION, template::Template};

pub(super) const KIND: Kind = Kind { name: "mocking", compile: Mocking::compile, identify: None };

const X_MOCK_BY: HeaderName = HeaderName::from_static("x-mock-by");

/// Schemas may not be nested deeper: every list in a list makes up to three times as much.
const DEPTH_MAX: usize = 10;

#[derive(Deserialize)]
struct Config {
    delay: u64,
    response_status: u16,
    content_type: String,
    response_example: Option<String>,
    response_schema: Option<Value>,
    response_headers: Option<Map<String, Value>>,
    with_mock_header: bool,
}

struct Mocking {
    delay: Duration,
    mock: Arc<Mock>,
}

struct Mock {
    status: StatusCode,
    kind: HeaderValue,
    body: Body,
    headers: Fields,
    signed: bool,
}

enum Body {
    Example(Template),
    Json(Shape),
    Xml(Shape),
}

/// A schema, as far as it says what to make up.
enum Shape {
    /// An example out of the schema.
    Fixed(Value),
    Object(Vec<(String, Shape)>),
    Array(Box<Shape>),
    Text,
    Number,
    Integer,
    Boolean,
    Nothing,
}

impl Mocking {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let media = config.content_type.split(';').next().unwrap_or("").trim();
        let xml = matches!(media, "application/xml" | "text/xml");
        let body = match (&config.response_example, &config.response_schema) {
            (Some(example), _) => Body::Example(Template::new(example)),
            (None, Some(schema)) if xml => Body::Xml(Shape::compile(schema, 0)?),
            (None, Some(schema)) => Body::Json(Shape::compile(schema, 0)?),
            (None, None) => return Err("give `response_example` or `response_schema`".to_owned()),
        };
        let mock = Mock {
            status: config::status(config.response_status)?,
            kind: config::header_value(&config.content_type)?,
            body,
            headers: Fields::parse(config.response_headers.as_ref())?,
            signed: config.with_mock_header,
        };
        Ok(Arc::new(Self { delay: Duration::from_secs(config.delay), mock: Arc::new(mock) }))
    }
}

impl Plugin for Mocking {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if self.delay.is_zero() {
            return self.mock.answer(exchange, request).into();
        }
        let mock = Arc::clone(&self.mock);
        Flow::wait(tokio::time::sleep(self.delay), move |(), exchange, request| {
            mock.answer(exchange, request).into()
        })
    }
}

impl Mock {
    fn answer(&self, exchange: &Exchange, request: &RequestHeader) -> Answer {
        let facts = exchange.facts(request);
        let text = match &self.body {
            Body::Example(template) => template.render(&facts).into_owned(),
            Body::Json(shape) => shape.invent().to_string(),
            Body::Xml(shape) => {
                let mut text = String::new();
                element("data", &shape.invent(), &mut text);
                text
            }
        };
        let mut answer = Answer::text(self.status, text).header(CONTENT_TYPE, self.kind.clone());
        if self.signed {
            answer.headers.push((X_MOCK_BY, HeaderValue::from_static(VERSION)));
        }
        answer.headers.extend(self.headers.render(&facts));
        answer
    }
}

impl Shape {
    fn compile(schema: &Value, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("`response_schema` is nested deeper than {DEPTH_MAX}"));
        }
        // The whole is an object unless it says something else.
        let whole = (depth == 0).then_some("object");
        let kind = schema.get("type").and_then(Value::as_str).or(whole);
        let example = schema.get("example");
        let nested = |schema: &Value| Self::compile(schema, depth + 1);
        Ok(match (kind, example) {
            (Some("boolean"), Some(Value::Bool(true))) => Self::Fixed(Value::Bool(true)),
            (Some("string" | "number" | "integer"), Some(example)) => Self::Fixed(example.clone()),
            (Some("string"), _) => Self::Text,
            (Some("number"), _) => Self::Number,
            (Some("integer"), _) => Self::Integer,
            (Some("boolean"), _) => Self::Boolean,
            (Some("array"), Some(example @ Value::Array(_))) => Self::Fixed(example.clone()),
            (Some("array"), _) => match schema.get("items") {
                Some(items) => Self::Array(Box::new(nested(items)?)),
                None => Self::Fixed(Value::Array(Vec::new())),
            },
            (Some("object"), _) => match schema.get("properties") {
                Some(Value::Object(properties)) => {
                    let property = |(name, schema): (&String, &Value)| {
                        Ok::<_, String>((name.clone(), nested(schema)?))
                    };
                    Self::Object(properties.iter().map(property).collect::<Result<_, _>>()?)
                }
                _ => Self::Fixed(Value::Object(Map::new())),
            },
            _ => Self::Nothing,
        })
    }

    fn invent(&self) -> Value {
        let mut random = rand::rng();
        match self {
            Self::Fixed(value) => value.clone(),
            Self::Object(properties) => properties
                .iter()
                .map(|(name, shape)| (name.clone(), shape.invent()))
                .collect::<Map<_, _>>()
                .into(),
            Self::Array(items) => {
                let count = random.random_range(1..=3);
                std::iter::repeat_with(|| items.invent()).take(count).collect()
            }
            Self::Text => {
                let count = random.random_range(1..=10);
                let letters = std::iter::repeat_with(|| random.random_range('a'..='z'));
                Value::String(letters.take(count).collect())
            }
            Self::Number => Value::from(random.random_range(0.0..10_000.0)),
            Self::Integer => Value::from(random.random_range(1..=10_000)),
            Self::Boolean => Value::from(random.random::<bool>()),
            Self::Nothing => Value::Null,
        }
    }
}

/// Writes a value as an element, and the entries of a list as elements of the same name.
fn element(name: &str, value: &Value, out: &mut String) {
    if let Value::Array(entries) = value {
        return entries.iter().for_each(|entry| element(name, entry, out));
    }
    out.push_str(&format!("<{name}>"));
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| element(name, value, out)),
        Value::String(text) => out.push_str(&escaped(text)),
        other => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
