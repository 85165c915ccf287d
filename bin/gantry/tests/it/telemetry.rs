//! The server's account of itself: its metrics, its log, its traces, and whether it is ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use gantry_testkit::{Database, client};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::harness::{Installation, eventually, strip};

/// What the server says at a path of its operator's listener.
async fn operator(gantry: &Installation, path: &str) -> (u16, String) {
    let address = strip(gantry.server.as_ref().unwrap().address("metrics"));
    let answer = client().get(format!("http://{address}{path}")).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// The value of a series, if there is one.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

#[tokio::test]
async fn the_server_counts_what_it_does_on_sqlite() {
    counts(Database::Sqlite).await;
}

#[tokio::test]
async fn the_server_counts_what_it_does_on_postgres() {
    counts(Database::postgres()).await;
}

async fn counts(database: Database) {
    let gantry = Installation::start(database).await;
    let gateway = gantry.gateway("gateway").await;
    let organizations = json!({ "name": "More" });
    gantry.call(Method::POST, "/orgs", Some(organizations)).await;
    gantry.try_call(Method::POST, "/orgs", Some(json!({ "name": 7 }))).await.unwrap();
    let application = gantry.application("shop", "/shop", ([127, 0, 0, 1], 1).into()).await;
    assert!(!application.is_empty());
    gateway.applied(gantry.revision().await).await;

    eventually("the gateway is counted as up to date", || async {
        let (_, text) = operator(&gantry, "/metrics").await;
        let is = |series: &str, expected: f64| {
            value(&text, series).is_some_and(|found| (found - expected).abs() < 0.5)
        };
        is("gantry_instances{status=\"healthy\"}", 1.0)
            && is("gantry_instance_lag_revisions_max", 0.0)
            && value(&text, "gantry_watchers").is_some_and(|watchers| watchers > 0.0)
    })
    .await;
    let (status, text) = operator(&gantry, "/metrics").await;
    assert_eq!(status, 200);
    let value = |series: &str| value(&text, series).unwrap_or_else(|| panic!("{series}\n{text}"));
    let exactly = |series: &str, expected: u32| {
        assert!((value(series) - f64::from(expected)).abs() < 0.5, "{series}\n{text}");
    };
    exactly("gantry_requests_total{operation=\"createOrganization\",status=\"200\"}", 1);
    exactly("gantry_requests_total{operation=\"createOrganization\",status=\"400\"}", 1);
    let duration = "gantry_request_duration_seconds";
    exactly(&format!("{duration}_count{{operation=\"createOrganization\"}}"), 2);
    exactly(&format!("{duration}_bucket{{operation=\"createOrganization\",le=\"+Inf\"}}"), 2);
    exactly("gantry_database_up", 1);
    exactly("gantry_background_failures_total{task=\"metrics\"}", 0);
    for positive in [
        "gantry_revisions_total",
        "gantry_database_writes_total{outcome=\"committed\"}",
        "gantry_database_write_duration_seconds_sum",
        "gantry_background_runs_total{task=\"housekeeping\"}",
        "gantry_background_runs_total{task=\"metrics\"}",
        "gantry_metrics_samples_total{outcome=\"stored\"}",
    ] {
        assert!(value(positive) > 0.0, "{positive}\n{text}");
    }
    assert_eq!(operator(&gantry, "/readyz").await.0, 200);
    assert_eq!(operator(&gantry, "/healthz").await.0, 200);
    // Who reaches the API reaches no metrics, and the operator's listener has no API.
    let url = gantry.url("").replace("/api/v1", "/metrics");
    assert_eq!(client().get(url).send().await.unwrap().status(), 404);
    assert_eq!(operator(&gantry, "/api/v1/user/me").await.0, 404);
}

/// What a collector was sent.
type Sent = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn collector() -> (String, Sent) {
    let sent = Sent::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let kept = Arc::clone(&sent);
    let keep = move |headers: HeaderMap, body: Bytes| {
        kept.lock().unwrap().push((headers, body));
        std::future::ready(())
    };
    let router = Router::new().route("/v1/traces", post(keep));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, sent)
}

/// A field of a message of Protocol Buffers: a number, or bytes.
#[derive(Debug)]
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message by their numbers, read without knowing what they mean.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    fn number(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        let field = match tag & 7 {
            0 => Field::Number(number(&mut bytes)),
            1 => {
                let (value, rest) = bytes.split_at(8);
                bytes = rest;
                Field::Number(u64::from_le_bytes(value.try_into().unwrap()))
            }
            2 => {
                let length = usize::try_from(number(&mut bytes)).unwrap();
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(value)
            }
            other => panic!("wire type {other}"),
        };
        found.push((tag >> 3, field));
    }
    found
}

fn bytes<'a>(message: &[(u64, Field<'a>)], number: u64) -> Vec<&'a [u8]> {
    let of_number = message.iter().filter(|(found, _)| *found == number);
    of_number
        .filter_map(|(_, field)| match field {
            Field::Bytes(bytes) => Some(*bytes),
            Field::Number(_) => None,
        })
        .collect()
}

/// A span as OTLP numbers its fields: trace, span, parent, name, kind, attributes.
#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    took_ns: u64,
    attributes: Vec<(String, String)>,
}

fn spans(request: &[u8]) -> Vec<Span> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Vec::new();
    for resource in bytes(&fields(request), 1) {
        for scope in bytes(&fields(resource), 2) {
            for span in bytes(&fields(scope), 2) {
                let span = fields(span);
                let one = |number| bytes(&span, number).first().copied().unwrap_or_default();
                let number = |wanted| {
                    span.iter().find_map(|(number, field)| match field {
                        Field::Number(value) if *number == wanted => Some(*value),
                        _ => None,
                    })
                };
                let attribute = |attribute: &[u8]| {
                    let pair = fields(attribute);
                    let value = fields(bytes(&pair, 2)[0]);
                    let value = match &value[0].1 {
                        Field::Number(number) => number.to_string(),
                        Field::Bytes(value) => text(value),
                    };
                    (text(bytes(&pair, 1)[0]), value)
                };
                found.push(Span {
                    trace: hex(one(1)),
                    id: hex(one(2)),
                    parent: hex(one(4)),
                    name: text(one(5)),
                    kind: number(6).unwrap_or_default(),
                    took_ns: number(8).unwrap() - number(7).unwrap(),
                    attributes: bytes(&span, 9).into_iter().map(attribute).collect(),
                });
            }
        }
    }
    found
}

#[tokio::test]
async fn a_request_is_followed_through_log_and_traces() {
    let (url, sent) = collector().await;
    let more = ["--log-json", "--otlp-endpoint", &url, "--otlp-header", "X-Team: shop"];
    let mut gantry = Installation::start_with(Database::Sqlite, &more).await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let answer = client()
        .post(gantry.url("/orgs"))
        .bearer_auth(&gantry.token)
        .header("x-request-id", "my-request-7")
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&json!({ "name": "Traced" }))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.headers()["x-request-id"], "my-request-7");
    assert_eq!(answer.status(), 200);

    let server = gantry.server.take().unwrap();
    let lines: Vec<Value> =
        server.log().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_request = |line: &&Value| line["span"]["request_id"] == "my-request-7";
    let line = lines.iter().find(of_request).unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(line["fields"]["status"], 200);
    assert_eq!(line["fields"]["route"], "/api/v1/orgs");

    // The end of the server sends what is left.
    assert!(server.stop().await.success());
    let sent = sent.lock().unwrap();
    assert!(sent.iter().all(|(headers, _)| headers["content-type"] == "application/x-protobuf"));
    assert!(sent.iter().all(|(headers, _)| headers["x-team"] == "shop"));
    let all: Vec<Span> = sent.iter().flat_map(|(_, body)| spans(body)).collect();
    let of_trace: Vec<&Span> = all.iter().filter(|span| span.trace == trace).collect();
    let root = of_trace.iter().find(|span| span.name == "createOrganization").unwrap();
    assert_eq!((root.parent.as_str(), root.kind), ("00f067aa0ba902b7", 2));
    assert!(root.took_ns > 0 && root.took_ns < Duration::from_secs(60).as_nanos() as u64);
    for expected in [
        ("request_id", "my-request-7"),
        ("http.request.method", "POST"),
        ("http.route", "/api/v1/orgs"),
        ("http.response.status_code", "200"),
    ] {
        let has = |(key, value): &(String, String)| (key.as_str(), value.as_str()) == expected;
        assert!(root.attributes.iter().any(has), "{expected:?}: {root:?}");
    }
    let write = of_trace.iter().find(|span| span.name == "database write").unwrap();
    assert_eq!(write.parent, root.id);
    assert!(all.iter().any(|span| span.name == "login"), "{all:?}");
}

#[tokio::test]
async fn a_collector_that_is_down_holds_nobody_up() {
    let more = ["--otlp-endpoint", "http://127.0.0.1:1"];
    let mut gantry = Installation::start_with(Database::Sqlite, &more).await;
    gantry.call(Method::GET, "/user/me", None).await;
    let server = gantry.server.take().unwrap();
    assert!(server.stop().await.success());
}
