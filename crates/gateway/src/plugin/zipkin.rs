//! zipkin: spans in Zipkin's second format, carried from hop to hop by B3 headers.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use http::{HeaderName, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config, identity, trace};
use crate::{
    answer::Answer,
    exchange::{Exchange, Facts},
    log::{Deliver, Failed, Pace, Queue, document},
    request,
};

const NAME: &str = "zipkin";

pub(super) const KIND: Kind = Kind { name: NAME, compile: Zipkin::compile, identify: None };

const B3: HeaderName = HeaderName::from_static("b3");
const TRACE_ID: HeaderName = HeaderName::from_static("x-b3-traceid");
const SPAN_ID: HeaderName = HeaderName::from_static("x-b3-spanid");
const PARENT_ID: HeaderName = HeaderName::from_static("x-b3-parentspanid");
const SAMPLED: HeaderName = HeaderName::from_static("x-b3-sampled");
const FLAGS: HeaderName = HeaderName::from_static("x-b3-flags");

const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
struct Config {
    endpoint: String,
    sample_ratio: f64,
    service_name: String,
    server_addr: Option<String>,
    span_version: u8,
}

struct Zipkin {
    sample_ratio: f64,
    service_name: String,
    server_addr: Option<String>,
    /// Spans by phase, as version 1 has them.
    by_phase: bool,
    queue: Queue,
}

/// The trace of one request.
#[derive(Clone)]
struct Trace {
    /// The plugin that began it.
    owner: usize,
    context: Context,
    span: String,
    proxy: String,
    rewritten: Instant,
    accessed: Option<Instant>,
    answered: Option<Instant>,
}

/// What the client said about the trace.
#[derive(Clone, Default)]
struct Context {
    trace: Option<String>,
    /// The client's span.
    span: Option<String>,
    sampled: Option<bool>,
    debug: bool,
}

impl Zipkin {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { endpoint, sample_ratio, service_name, server_addr, span_version } =
            config::read(value)?;
        let target = Target {
            client: place.shared.logs.client(false)?,
            url: endpoint.parse().map_err(|error| format!("endpoint: {error}"))?,
        };
        let pace = Pace {
            inactive: Duration::from_secs(2),
            age: Duration::from_secs(5),
            in_flight: 4,
            ..Pace::at_once(NAME)
        };
        let queue = Queue::new(NAME, pace, place.shared, Arc::new(target));
        let by_phase = span_version == 1;
        Ok(Arc::new(Self { sample_ratio, service_name, server_addr, by_phase, queue }))
    }

    /// The spans of a finished request, with commas between them.
    #[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
    fn spans(&self, facts: &Facts<'_>, trace: &Trace) -> String {
        let exchange = facts.exchange;
        let end = Instant::now();
        let answered = trace.answered.unwrap_or(end);
        let accessed = trace.accessed.unwrap_or(answered);
        let local = self.local_endpoint(exchange);
        let child = |id: &str, name: &str, begin: Instant, end: Instant| {
            let mut span = span(trace, &local, id, name, (begin, end));
            span["parentId"] = json!(trace.span);
            span
        };
        let new = trace::span_id;
        let begin = if self.by_phase { accessed } else { exchange.started };
        let mut proxy = child(&trace.proxy, "apisix.proxy", begin, answered);
        proxy["kind"] = json!("CLIENT");
        if let Some(node) = exchange.attempts.address {
            proxy["remoteEndpoint"] = endpoint(node);
        }
        let root = root(facts, trace, &local, end);
        let spans = if self.by_phase {
            vec![
                root,
                child(&new(), "apisix.rewrite", exchange.started, trace.rewritten),
                child(&new(), "apisix.access", trace.rewritten, accessed),
                proxy,
                child(&new(), "apisix.body_filter", answered, end),
            ]
        } else {
            vec![root, proxy, child(&new(), "apisix.response_span", answered, end)]
        };
        let texts: Vec<_> = spans.iter().map(Value::to_string).collect();
        texts.join(",")
    }

    #[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
    fn local_endpoint(&self, exchange: &Exchange) -> Value {
        let mut local = endpoint(exchange.connection.server);
        local["serviceName"] = json!(self.service_name);
        if let Some(address) = &self.server_addr {
            local["ipv4"] = json!(address);
        }
        local
    }
}

fn span(
    trace: &Trace,
    local: &Value,
    id: &str,
    name: &str,
    (begin, end): (Instant, Instant),
) -> Value {
    json!({
        "traceId": trace.context.trace, "id": id, "name": name,
        "timestamp": trace::clock(begin).as_micros() as u64,
        "duration": end.saturating_duration_since(begin).as_micros().max(1) as u64,
        "localEndpoint": local,
    })
}

/// The span of the whole request.
#[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
fn root(facts: &Facts<'_>, trace: &Trace, local: &Value, end: Instant) -> Value {
    let exchange = facts.exchange;
    let mut root = span(trace, local, &trace.span, "apisix.request", (exchange.started, end));
    root["kind"] = json!("SERVER");
    if let Some(parent) = &trace.context.span {
        root["parentId"] = json!(parent);
    }
    if trace.context.debug {
        root["debug"] = json!(true);
    }
    root["remoteEndpoint"] = endpoint(exchange.client.address());
    root["tags"] = json!({
        "component": "apisix",
        "http.method": facts.request.method.as_str(),
        "http.url": request::target(facts.request),
        "http.status_code": exchange.response.status.to_string(),
    });
    root
}

fn endpoint(address: SocketAddr) -> Value {
    let ip = address.ip().to_canonical();
    let family = if ip.is_ipv4() { "ipv4" } else { "ipv6" };
    json!({family: ip.to_string(), "port": address.port()})
}

impl Plugin for Zipkin {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if exchange.notes.get::<Trace>().is_some() {
            return Flow::Next;
        }
        let Ok(mut context) = Context::read(request) else {
            return Answer::page(StatusCode::BAD_REQUEST).into();
        };
        request.remove_header(&B3);
        context.sampled.get_or_insert_with(|| trace::is_chosen(self.sample_ratio));
        context.trace.get_or_insert_with(trace::trace_id);
        let (span, proxy) = (trace::span_id(), trace::span_id());
        exchange.notes.insert(Trace {
            owner: identity(self),
            context,
            span,
            proxy,
            rewritten: Instant::now(),
            accessed: None,
            answered: None,
        });
        Flow::Next
    }

    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let owner = identity(self);
        if let Some(trace) = exchange.notes.get_mut::<Trace>().filter(|trace| trace.owner == owner)
        {
            trace.accessed = Some(Instant::now());
            let sampled = if trace.context.sampled == Some(true) { "1" } else { "0" };
            let flags = if trace.context.debug { Some("1") } else { None };
            for (name, value) in [
                (TRACE_ID, trace.context.trace.as_deref()),
                (SPAN_ID, Some(&*trace.proxy)),
                (PARENT_ID, Some(&*trace.span)),
                (SAMPLED, Some(sampled)),
                (FLAGS, flags),
            ] {
                // Fails only when the header map is full.
                if let Some(value) = value {
                    let _ = request.insert_header(name, value);
                }
            }
        }
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        _response: &mut ResponseHeader,
    ) {
        if let Some(trace) = exchange.notes.get_mut::<Trace>() {
            trace.answered = Some(Instant::now());
        }
    }

    fn log(&self, facts: &Facts<'_>) {
        let trace = facts.exchange.notes.get::<Trace>();
        let is_reported =
            |trace: &&Trace| trace.owner == identity(self) && trace.context.sampled == Some(true);
        if let Some(trace) = trace.filter(is_reported) {
            self.queue.push(facts, || self.spans(facts, trace));
        }
    }
}

impl Context {
    /// Reads the client's headers; Err if the short form cannot be read.
    fn read(request: &RequestHeader) -> Result<Self, ()> {
        let text = |name: HeaderName| request.headers.get(name).and_then(|v| v.to_str().ok());
        if let Some(b3) = text(B3) {
            return Self::parse(b3).ok_or(());
        }
        let id = |name| text(name).map(str::to_ascii_lowercase);
        let debug = text(FLAGS) == Some("1");
        let sampled = match text(SAMPLED) {
            _ if debug => Some(true),
            Some("1" | "true") => Some(true),
            Some("0" | "false") => Some(false),
            _ => None,
        };
        let trace = id(TRACE_ID).filter(|id| trace::is_id(id, 16) || trace::is_id(id, 32));
        let span = id(SPAN_ID).filter(|id| trace.is_some() && trace::is_id(id, 16));
        Ok(Self { trace, span, sampled, debug })
    }

    /// `{trace}-{span}-{sampled}-{parent}`, the last two optional, or the decision alone.
    fn parse(b3: &str) -> Option<Self> {
        let mut parts = b3.split('-');
        let first = parts.next()?.to_ascii_lowercase();
        let decision = |text: &str| match text {
            "0" => Some((false, false)),
            "1" => Some((true, false)),
            "d" => Some((true, true)),
            _ => None,
        };
        let Some(span) = parts.next() else {
            let (sampled, debug) = decision(&first)?;
            return Some(Self { sampled: Some(sampled), debug, ..Self::default() });
        };
        let span = span.to_ascii_lowercase();
        let whole =
            (trace::is_id(&first, 16) || trace::is_id(&first, 32)) && trace::is_id(&span, 16);
        let decided = parts.next().map(decision);
        let parent = parts.next().is_none_or(|parent| trace::is_id(parent, 16));
        if !whole || !parent || decided == Some(None) || parts.next().is_some() {
            return None;
        }
        let (sampled, debug) = decided.flatten().unzip();
        Some(Self { trace: Some(first), span: Some(span), sampled, debug: debug.unwrap_or(false) })
    }
}

struct Target {
    client: reqwest::Client,
    url: reqwest::Url,
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        let request = self.client.post(self.url.clone()).timeout(TIMEOUT);
        let request = request.header(header::CONTENT_TYPE, "application/json");
        request.body(document(entries, false)).send().await?.error_for_status()?;
        Ok(())
    }
}
