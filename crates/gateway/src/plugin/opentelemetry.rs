//! opentelemetry: a span for each sampled request, sent to a collector as OTLP over HTTP in JSON. Spans
//! that find the queue full are dropped whatever `drop_on_queue_full` says: no request waits for them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use gantry_routing::vars::Vars as _;
use http::{HeaderMap, HeaderName, StatusCode, header};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config, identity, trace};
use crate::{
    exchange::{Exchange, Facts},
    log::{Deliver, Failed, Pace, Queue},
    machine,
};

const NAME: &str = "opentelemetry";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Kind and status of spans, as the protocol numbers them.
const SERVER: u8 = 2;
const ERROR: u8 = 2;

#[derive(Deserialize)]
struct Config {
    sampler: Sampler,
    #[serde(default)]
    additional_attributes: Vec<String>,
    #[serde(default)]
    additional_header_prefix_attributes: Vec<String>,
}

#[derive(Deserialize)]
struct Sampler {
    name: String,
    options: SamplerOptions,
}

#[derive(Deserialize)]
struct SamplerOptions {
    fraction: f64,
    root: Option<Box<Sampler>>,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default = "random")]
    trace_id_source: String,
    #[serde(default)]
    resource: BTreeMap<String, Value>,
    #[serde(default)]
    collector: Collector,
    #[serde(default)]
    batch_span_processor: Processor,
    #[serde(default)]
    set_ngx_var: bool,
}

fn random() -> String {
    "random".to_owned()
}

#[derive(Deserialize)]
#[serde(default)]
struct Collector {
    address: String,
    /// In seconds.
    request_timeout: u64,
    request_headers: BTreeMap<String, Value>,
}

impl Default for Collector {
    fn default() -> Self {
        let address = "127.0.0.1:4318".to_owned();
        Self { address, request_timeout: 3, request_headers: BTreeMap::new() }
    }
}

#[derive(Deserialize)]
#[serde(default)]
struct Processor {
    max_queue_size: usize,
    /// In seconds.
    batch_timeout: f64,
    inactive_timeout: f64,
    max_export_batch_size: usize,
}

impl Default for Processor {
    fn default() -> Self {
        Self {
            max_queue_size: 2048,
            batch_timeout: 5.0,
            inactive_timeout: 2.0,
            max_export_batch_size: 256,
        }
    }
}

struct OpenTelemetry {
    config: Config,
    by_request_id: bool,
    exports: bool,
    queue: Queue,
}

/// In place of the plugin where there is no metadata.
struct Idle;

impl Plugin for Idle {}

/// The span of one request.
#[derive(Clone)]
struct Span {
    /// The plugin that began it.
    owner: usize,
    trace: String,
    id: String,
    parent: Option<String>,
    sampled: bool,
}

/// A span that variables show.
#[derive(Clone)]
pub struct Exported {
    traceparent: String,
}

impl Exported {
    /// The value of one of the plugin's variables.
    pub fn var(&self, name: &str) -> Option<&str> {
        match name {
            "opentelemetry_context_traceparent" => Some(&self.traceparent),
            "opentelemetry_trace_id" => self.traceparent.split('-').nth(1),
            _ => self.traceparent.split('-').nth(2),
        }
    }
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let Some(metadata) = place.metadata else { return Ok(Arc::new(Idle)) };
    let metadata: Metadata = config::read(metadata)?;
    let processor = &metadata.batch_span_processor;
    let time = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|error| format!("batch_span_processor: {error}"))
    };
    let pace = Pace {
        entries_max: processor.max_export_batch_size.max(1),
        inactive: time(processor.inactive_timeout)?,
        age: time(processor.batch_timeout)?,
        in_flight: 4,
        ..Pace::at_once(NAME)
    };
    let target = Arc::new(Target::compile(&metadata, place)?);
    let queue =
        Queue::new(NAME, pace, place.shared, target).with_room(processor.max_queue_size.max(1));
    Ok(Arc::new(OpenTelemetry {
        config: config::read(value)?,
        by_request_id: metadata.trace_id_source == "x-request-id",
        exports: metadata.set_ngx_var,
        queue,
    }))
}

impl OpenTelemetry {
    fn begin(&self, exchange: &Exchange, request: &RequestHeader) -> Span {
        let parent = request.headers.get(TRACEPARENT).and_then(|value| parse(value.to_str().ok()?));
        let known = parent.map(|(trace, _, _)| trace.to_owned());
        let trace = known.unwrap_or_else(|| self.trace_id(exchange, request));
        let sampled = self.config.sampler.takes(&trace, parent.map(|(_, _, sampled)| sampled));
        let parent = parent.map(|(_, span, _)| span.to_owned());
        Span { owner: identity(self), trace, id: trace::span_id(), parent, sampled }
    }

    fn trace_id(&self, exchange: &Exchange, request: &RequestHeader) -> String {
        if !self.by_request_id {
            return trace::trace_id();
        }
        let id = request.headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
        let id = id.map(str::to_ascii_lowercase).filter(|id| trace::is_id(id, 32));
        id.unwrap_or_else(|| exchange.id().to_owned())
    }

    #[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
    fn span(&self, facts: &Facts<'_>, span: &Span) -> String {
        let exchange = facts.exchange;
        let (begin, end) =
            (trace::clock(exchange.started), trace::clock(std::time::Instant::now()));
        let method = facts.request.method.as_str();
        let name = match &exchange.route {
            Some(candidate) => format!("{method} {}", candidate.uri()),
            None => method.to_owned(),
        };
        let mut described = json!({
            "traceId": span.trace, "spanId": span.id, "name": name, "kind": SERVER,
            "startTimeUnixNano": begin.as_nanos().to_string(),
            "endTimeUnixNano": end.as_nanos().to_string(),
            "attributes": self.attributes(facts),
        });
        if let Some(parent) = &span.parent {
            described["parentSpanId"] = json!(parent);
        }
        let status = exchange.response.status;
        if status >= StatusCode::INTERNAL_SERVER_ERROR.as_u16() {
            let message = format!("{} error: {status}", exchange.response.source.name());
            described["status"] = json!({"code": ERROR, "message": message});
        }
        described.to_string()
    }

    fn attributes(&self, facts: &Facts<'_>) -> Vec<Value> {
        let exchange = facts.exchange;
        let mut attributes = Vec::new();
        for (key, name) in [
            ("net.host.name", "host"),
            ("http.method", "method"),
            ("http.request.method", "method"),
            ("http.scheme", "scheme"),
            ("url.scheme", "scheme"),
            ("http.target", "request_uri"),
            ("url.path", "uri"),
            ("http.user_agent", "http_user_agent"),
            ("user_agent.original", "http_user_agent"),
            ("apisix.route_id", "route_id"),
            ("apisix.route_name", "route_name"),
            ("apisix.service_id", "service_id"),
            ("apisix.service_name", "service_name"),
        ]
        .into_iter()
        .chain(self.config.additional_attributes.iter().map(|name| (&**name, &**name)))
        {
            if let Some(value) = facts.var(name).and_then(|value| Some(value.text()?.into_owned()))
            {
                attributes.push(attribute(key, &json!(value)));
            }
        }
        if let Some(candidate) = &exchange.route {
            attributes.push(attribute("http.route", &json!(candidate.uri())));
        }
        for wanted in &self.config.additional_header_prefix_attributes {
            attributes.extend(header_attributes(&facts.request.headers, wanted));
        }
        let (source, status) = (exchange.response.source.name(), exchange.response.status);
        attributes.push(attribute("apisix.response_source", &json!(source)));
        attributes.push(attribute("http.status_code", &json!(status)));
        attributes.push(attribute("http.response.status_code", &json!(status)));
        attributes
    }
}

impl Plugin for OpenTelemetry {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if exchange.notes.get::<Span>().is_some() {
            return Flow::Next;
        }
        let span = self.begin(exchange, request);
        let traceparent = format!("00-{}-{}-0{}", span.trace, span.id, u8::from(span.sampled));
        // Fails only when the header map is full.
        let _ = request.insert_header(TRACEPARENT, &traceparent);
        if self.exports {
            exchange.notes.insert(Exported { traceparent });
        }
        exchange.notes.insert(span);
        Flow::Next
    }

    fn log(&self, facts: &Facts<'_>) {
        let span = facts.exchange.notes.get::<Span>();
        if let Some(span) = span.filter(|span| span.sampled && span.owner == identity(self)) {
            self.queue.push(facts, || self.span(facts, span));
        }
    }
}

impl Sampler {
    /// Whether a trace is reported; `parent` is what the client's span says.
    fn takes(&self, trace: &str, parent: Option<bool>) -> bool {
        match &*self.name {
            "always_on" => true,
            "trace_id_ratio" => {
                let low = trace.get(16..).and_then(|low| u64::from_str_radix(low, 16).ok());
                let share = low.unwrap_or(u64::MAX) as f64 / u64::MAX as f64;
                share < self.options.fraction
            }
            "parent_base" => parent.unwrap_or_else(|| {
                self.options.root.as_ref().is_some_and(|root| root.takes(trace, None))
            }),
            _ => false,
        }
    }
}

/// Trace, span, and whether it is sampled.
fn parse(traceparent: &str) -> Option<(&str, &str, bool)> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let flags = u8::from_str_radix(flags, 16).ok().filter(|_| flags.len() == 2)?;
    let is_known =
        version.len() == 2 && version != "ff" && (version != "00" || parts.next().is_none());
    let is_whole = is_known && trace::is_id(trace, 32) && trace::is_id(span, 16);
    is_whole.then_some((trace, span, flags & 1 == 1))
}

/// The headers of a name, or with `*` at its end those that begin so.
fn header_attributes(headers: &HeaderMap, wanted: &str) -> Vec<Value> {
    let wanted = wanted.to_ascii_lowercase();
    let fits = |name: &str| match wanted.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => name == wanted,
    };
    let fitting = headers.iter().filter(|(name, _)| fits(name.as_str()));
    let text = |value: &http::HeaderValue| json!(String::from_utf8_lossy(value.as_bytes()));
    fitting.map(|(name, value)| attribute(name.as_str(), &text(value))).collect()
}

/// A key and a value as the protocol writes them; large numbers are texts in JSON.
fn attribute(key: &str, value: &Value) -> Value {
    let value = match value {
        Value::Bool(flag) => json!({"boolValue": flag}),
        Value::Number(number) if number.is_f64() => json!({"doubleValue": number}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::String(text) => json!({"stringValue": text}),
        other => json!({"stringValue": other.to_string()}),
    };
    json!({"key": key, "value": value})
}

struct Target {
    client: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
    timeout: Duration,
    /// The text around spans.
    frame: (String, &'static str),
}

impl Target {
    fn compile(metadata: &Metadata, place: &Place<'_>) -> Result<Self, String> {
        let Collector { address, request_timeout, request_headers } = &metadata.collector;
        let base =
            if address.contains("://") { address.clone() } else { format!("http://{address}") };
        let url = format!("{}/v1/traces", base.trim_end_matches('/'));
        let mut headers = HeaderMap::new();
        for (name, value) in request_headers {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            headers.insert(config::header_name(name)?, config::header_value(&text)?);
        }
        let mut resource = BTreeMap::from([
            ("hostname".to_owned(), json!(machine::hostname())),
            ("service.name".to_owned(), json!("APISIX")),
        ]);
        resource.extend(metadata.resource.clone());
        let resource: Vec<_> = resource.iter().map(|(key, value)| attribute(key, value)).collect();
        let resource = json!({"attributes": resource});
        let opening = format!(
            "{{\"resourceSpans\":[{{\"resource\":{resource},\"scopeSpans\":[{{\"scope\":\
             {{\"name\":\"gantry\"}},\"spans\":["
        );
        Ok(Self {
            client: place.shared.logs.client(true)?,
            url: url.parse().map_err(|error| format!("collector.address: {error}"))?,
            headers,
            timeout: Duration::from_secs(*request_timeout),
            frame: (opening, "]}]}]}"),
        })
    }
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        let (opening, closing) = &self.frame;
        let body = format!("{opening}{}{closing}", entries.join(","));
        let request = self.client.post(self.url.clone()).timeout(self.timeout);
        let request = request.headers(self.headers.clone());
        let request = request.header(header::CONTENT_TYPE, "application/json").body(body);
        request.send().await?.error_for_status()?;
        Ok(())
    }
}
