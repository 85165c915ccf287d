//! The full record of a request, as APISIX's loggers write it.

use gantry_routing::vars::Vars as _;
use http::HeaderMap;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::format::Bodies;
use crate::{exchange::Facts, machine, plugin::url, request};

/// Everything there is to say about a finished request.
pub fn record(facts: &Facts<'_>, bodies: Bodies<'_>) -> Map<String, Value> {
    let exchange = facts.exchange;
    let mut entry = Map::new();
    entry.insert("request".to_owned(), of_request(facts, bodies.request));
    entry.insert("response".to_owned(), of_response(facts, bodies.response));
    let server = json!({"hostname": machine::hostname(), "version": env!("CARGO_PKG_VERSION")});
    entry.insert("server".to_owned(), server);
    match &exchange.route {
        Some(candidate) => {
            entry.insert("route_id".to_owned(), json!(candidate.route.id));
            let service = candidate.route.service_id.as_deref().unwrap_or("");
            entry.insert("service_id".to_owned(), json!(service));
        }
        None => {
            let host = request::host(facts.request).to_ascii_lowercase();
            entry.insert("service_id".to_owned(), json!(host));
        }
    }
    if let Some(consumer) = &exchange.consumer {
        entry.insert("consumer".to_owned(), json!({"username": consumer.name}));
    }
    if let Some(address) = exchange.attempts.address {
        entry.insert("upstream".to_owned(), json!(address.to_string()));
    }
    entry.insert("client_ip".to_owned(), json!(exchange.client.text()));
    let latency = exchange.started.elapsed();
    let start = Timestamp::now().as_microsecond() - i64::try_from(latency.as_micros()).unwrap_or(0);
    entry.insert("start_time".to_owned(), json!(start / 1000));
    let latency = millis(latency);
    let upstream = exchange.attempts.response_time.map(millis);
    entry.insert("latency".to_owned(), json!(latency));
    if let Some(upstream) = upstream {
        entry.insert("upstream_latency".to_owned(), json!(upstream));
    }
    let own = (latency - upstream.unwrap_or(0.0)).max(0.0);
    entry.insert("apisix_latency".to_owned(), json!(own));
    entry
}

/// A time in milliseconds, with fraction.
pub fn millis(time: std::time::Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

#[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
fn of_request(facts: &Facts<'_>, body: Option<&str>) -> Value {
    let request = facts.request;
    let text = |name: &str| {
        facts.var(name).and_then(|value| Some(value.text()?.into_owned())).unwrap_or_default()
    };
    let port = facts.exchange.connection.server.port();
    let target = text("request_uri");
    let url = format!("{}://{}:{port}{target}", facts.exchange.scheme(), text("host"));
    let mut described = json!({
        "url": url,
        "uri": target,
        "method": request.method.as_str(),
        "headers": headers(&request.headers),
        "querystring": arguments(request.uri.query().unwrap_or("")),
        "size": facts.request_bytes(),
    });
    if let Some(body) = body {
        described["body"] = json!(body);
    }
    described
}

#[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
fn of_response(facts: &Facts<'_>, body: Option<&str>) -> Value {
    let mut described = json!({
        "status": facts.exchange.response.status,
        "headers": facts.response.map(|response| headers(&response.headers)).unwrap_or_default(),
        "size": facts.response_bytes(),
    });
    if let Some(body) = body {
        described["body"] = json!(body);
    }
    described
}

/// Headers by name; one that comes several times is a list.
fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let values = |name| {
        let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into();
        let mut values: Vec<Value> = headers.get_all(name).iter().map(text).collect();
        if values.len() == 1 { values.remove(0) } else { Value::Array(values) }
    };
    headers.keys().map(|name| (name.as_str().to_owned(), values(name))).collect()
}

/// Arguments by name: one without `=` is true, one that comes several times is a list.
fn arguments(query: &str) -> Map<String, Value> {
    let mut arguments = Map::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = match pair.split_once('=') {
            Some((name, value)) => (name, Value::from(url::decode(value))),
            None => (pair, Value::Bool(true)),
        };
        match arguments.get_mut(&*url::decode(name)) {
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => {
                arguments.insert(url::decode(name).into_owned(), value);
            }
        }
    }
    arguments
}
