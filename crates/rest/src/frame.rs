//! Around every request: its id, its time limit, a net for panics and one line in the log.

use std::any::Any;
use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use gantry_app::{App, telemetry};
use gantry_model::ErrorCode;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::error::{Failure, Logged};

/// Longest a request may take, its body included; far above any honest one.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Longest request id taken over from a client, in bytes.
const REQUEST_ID_MAX: usize = 128;

/// Longest `traceparent` that is looked at, in bytes; of version 0 they have 55.
const TRACEPARENT_MAX: usize = 128;

/// What machines ask all the time.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Id of a request, in its extensions.
#[derive(Clone)]
pub struct RequestId(pub String);

/// Who asked, in the extensions of the response, for the log.
#[derive(Clone)]
pub struct ActorName(pub String);

/// The operation of the contract, in the extensions of the response, for those who count.
#[derive(Clone, Copy)]
pub struct OperationName(pub &'static str);

/// What requests count as that are no operation of the contract.
const NO_OPERATION: OperationName = OperationName("none");

/// Everything that is logged or traced on behalf of the request stands in its span.
pub async fn frame(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let span = span(&id, request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    request.extensions_mut().insert(RequestId(id.clone()));
    let work = AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind();
    let mut response = match tokio::time::timeout(REQUEST_TIMEOUT, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => Failure::internal(panic_text(panic.as_ref())).into_response(),
        Err(_) => too_slow().into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let route = route.as_ref().map_or("unknown", |path| path.as_str());
    let (status, took) = (response.status().as_u16(), started.elapsed());
    let operation = response.extensions().get().copied().unwrap_or(NO_OPERATION).0;
    telemetry::request(&app, operation, status, took);
    span.in_scope(|| log(method.as_str(), route, &response, took));
    // After the log, which says the same in fields of its own.
    span.record("otel.name", operation);
    span.record("otel.kind", "server");
    span.record("http.request.method", method.as_str());
    span.record("http.route", route);
    span.record("http.response.status_code", status);
    response
}

/// The span of a request. A client that traces has said where it belongs (W3C Trace Context).
fn span(id: &str, headers: &HeaderMap) -> Span {
    // Of the highest level, so that a log of errors only has it too.
    let span = tracing::error_span!(
        "request",
        request_id = id,
        traceparent = Empty,
        otel.name = Empty,
        otel.kind = Empty,
        http.request.method = Empty,
        http.route = Empty,
        http.response.status_code = Empty,
    );
    let parent = headers.get("traceparent").and_then(|value| value.to_str().ok());
    if let Some(parent) = parent.filter(|parent| parent.len() <= TRACEPARENT_MAX) {
        span.record("traceparent", parent);
    }
    span
}

fn log(method: &str, route: &str, response: &Response, took: Duration) {
    let status = response.status().as_u16();
    let duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let actor = response.extensions().get::<ActorName>().map_or("-", |name| name.0.as_str());
    if let Some(Logged(error)) = response.extensions().get() {
        let reason = chain(error.as_ref());
        tracing::error!(method, route, status, actor, reason, "request failed");
    }
    // Gateways, probes and scrapes come every few seconds: a line each would bury what people do.
    if status < 400 && (route.starts_with("/api/v1/dp/") || PROBES.contains(&route)) {
        tracing::debug!(method, route, status, duration_us, "{method} {route} {status}");
        return;
    }
    tracing::info!(method, route, status, duration_us, actor, "{method} {route} {status}");
}

/// What caused an error, outermost first.
fn chain(error: &dyn StdError) -> String {
    let mut links = Vec::new();
    let mut next = error.source();
    while let Some(link) = next {
        links.push(link.to_string());
        next = link.source();
    }
    links.join(": ")
}

/// The client's id if it is one that logs can hold, else a new one in the form of a UUID.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| (1..=REQUEST_ID_MAX).contains(&id.len());
    given.filter(is_plain).map_or_else(new_request_id, str::to_owned)
}

fn new_request_id() -> String {
    // Version and variant bits of a random UUID (RFC 9562, version 4).
    let random = rand::random::<u128>() & !(0xf << 76) & !(0x3 << 62) | 4 << 76 | 2 << 62;
    let hex = format!("{random:032x}");
    let cuts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    cuts.map(|(from, to)| hex.get(from..to).unwrap_or_default()).join("-")
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("a handler panicked: {text}")
}

fn too_slow() -> Failure {
    let message = format!("the request took longer than {} s", REQUEST_TIMEOUT.as_secs());
    Failure::http(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_taken_over_or_made() {
        let mut headers = HeaderMap::new();
        let made = request_id(&headers);
        assert_eq!((made.len(), made.matches('-').count()), (36, 4));
        assert_eq!(made.get(14..15), Some("4"));
        headers.insert(REQUEST_ID, HeaderValue::from_static("453750199534224179"));
        assert_eq!(request_id(&headers), "453750199534224179");
    }
}
