//! forward-auth: another server decides whether a request may go on. Its status decides; of its body,
//! which refused clients get, so many bytes may be sent, and instead of a longer one our own page is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use gantry_routing::vars::Vars;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode,
    header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use pingora::http::RequestHeader;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, config,
    outbound::{self, Reply},
    url,
};
use crate::{answer::Answer, exchange::Exchange, request, template::Template};

pub(super) const KIND: Kind =
    Kind { name: "forward-auth", compile: ForwardAuth::compile, identify: None };

/// Longest body of a refusal that is passed on, in bytes.
const REFUSAL_MAX: usize = 8 << 20;

#[derive(Deserialize)]
struct Config {
    uri: String,
    request_method: String,
    request_headers: Vec<String>,
    upstream_headers: Vec<String>,
    client_headers: Vec<String>,
    #[serde(default)]
    extra_headers: BTreeMap<String, String>,
    /// Milliseconds, as `keepalive_timeout`.
    timeout: u64,
    keepalive: bool,
    keepalive_timeout: u64,
    keepalive_pool: usize,
    allow_degradation: bool,
    status_on_error: u16,
    ssl_verify: bool,
    max_req_body_size: u64,
}

struct ForwardAuth {
    client: Client,
    uri: Url,
    /// The most bytes of a body that is sent along; None sends none.
    body_limit: Option<u64>,
    request_headers: Vec<HeaderName>,
    extra_headers: Vec<(HeaderName, Template)>,
    verdict: Arc<Verdict>,
}

/// What becomes of a request once the server has spoken.
struct Verdict {
    upstream_headers: Vec<HeaderName>,
    client_headers: Vec<HeaderName>,
    /// The answer if the server cannot be asked; None lets the request pass.
    on_error: Option<StatusCode>,
}

impl ForwardAuth {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let names = |names: &[String]| -> Result<Vec<HeaderName>, String> {
            names.iter().map(|name| config::header_name(name)).collect()
        };
        let extra = config.extra_headers.iter();
        let extra = extra.map(|(name, text)| Ok((config::header_name(name)?, Template::new(text))));
        let pool = if config.keepalive { config.keepalive_pool } else { 0 };
        let client = outbound::client(config.ssl_verify, Duration::from_millis(config.timeout))
            .pool_max_idle_per_host(pool)
            .pool_idle_timeout(Duration::from_millis(config.keepalive_timeout));
        let status = config::status(config.status_on_error)?;
        Ok(Arc::new(Self {
            client: client.build().map_err(|error| error.to_string())?,
            uri: Url::parse(&config.uri).map_err(|error| format!("`uri`: {error}"))?,
            body_limit: (config.request_method == "POST").then_some(config.max_req_body_size),
            request_headers: names(&config.request_headers)?,
            extra_headers: extra.collect::<Result<_, String>>()?,
            verdict: Arc::new(Verdict {
                upstream_headers: names(&config.upstream_headers)?,
                client_headers: names(&config.client_headers)?,
                on_error: (!config.allow_degradation).then_some(status),
            }),
        }))
    }

    fn question(&self, exchange: &Exchange, request: &RequestHeader) -> RequestBuilder {
        let method = if self.body_limit.is_some() { Method::POST } else { Method::GET };
        self.client.request(method, self.uri.clone()).headers(self.headers(exchange, request))
    }

    /// What the server is told. The gateway's own words go before those of the client.
    fn headers(&self, exchange: &Exchange, request: &RequestHeader) -> HeaderMap {
        let facts = exchange.facts(request);
        let uri = forwarded_uri(exchange, request);
        let mut headers = HeaderMap::new();
        for (name, text) in [
            ("x-forwarded-proto", exchange.scheme()),
            ("x-forwarded-method", request.method.as_str()),
            ("x-forwarded-host", request::authority(request)),
            ("x-forwarded-uri", &*uri),
            ("x-forwarded-for", exchange.client.text()),
        ] {
            headers.extend(
                HeaderValue::from_str(text)
                    .ok()
                    .map(|value| (HeaderName::from_static(name), value)),
            );
        }
        for (name, template) in &self.extra_headers {
            if let Ok(value) = HeaderValue::from_str(&template.render(&facts)) {
                headers.insert(name.clone(), value);
            }
        }
        let encoding = self.body_limit.is_some().then_some(&CONTENT_ENCODING);
        for name in self.request_headers.iter().chain(encoding) {
            // How long the question is, is known here.
            let framing = [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name);
            if !framing && !headers.contains_key(name) {
                let values = request.headers.get_all(name).iter().cloned();
                headers.extend(values.map(|value| (name.clone(), value)));
            }
        }
        headers
    }
}

/// The normalised path and the query; percent-encoded if it could not stand in a header otherwise.
fn forwarded_uri(exchange: &Exchange, request: &RequestHeader) -> String {
    let facts = exchange.facts(request);
    let uri = facts.var("request_uri");
    let uri = uri.as_ref().and_then(|uri| uri.text()).unwrap_or_default();
    if HeaderValue::from_str(&uri).is_ok() {
        return uri.into_owned();
    }
    let mut text = String::with_capacity(uri.len());
    url::encode_control(&uri, &mut text);
    text
}

impl Plugin for ForwardAuth {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let question = self.question(exchange, request);
        let verdict = Arc::clone(&self.verdict);
        match self.body_limit {
            None => verdict.wait(question),
            Some(limit) => Flow::body(limit, move |exchange, _request| {
                verdict.wait(question.body(exchange.body.clone().unwrap_or_default()))
            }),
        }
    }
}

impl Verdict {
    fn wait(self: Arc<Self>, question: RequestBuilder) -> Flow {
        let answer = outbound::receive(question, REFUSAL_MAX);
        Flow::wait(answer, move |reply, _exchange, request| match reply {
            Ok(reply) if reply.status < StatusCode::MULTIPLE_CHOICES => {
                self.pass(&reply, request);
                Flow::Next
            }
            Ok(reply) => self.refuse(reply).into(),
            Err(error) => {
                tracing::warn!(error, "forward-auth got no answer");
                self.on_error.map_or(Flow::Next, |status| Answer::page(status).into())
            }
        })
    }

    /// Headers that the server does not give are taken from the client too.
    fn pass(&self, reply: &Reply, request: &mut RequestHeader) {
        for name in &self.upstream_headers {
            request.remove_header(name);
            for value in reply.headers.get_all(name) {
                // Fails only if the header map is full.
                let _ = request.append_header(name.clone(), value.clone());
            }
        }
    }

    fn refuse(&self, reply: Reply) -> Answer {
        let mut answer = match reply.cut {
            false => Answer::text(reply.status, reply.body),
            true => Answer::page(reply.status),
        };
        for name in &self.client_headers {
            for value in reply.headers.get_all(name) {
                answer = answer.header(name.clone(), value.clone());
            }
        }
        answer
    }
}
