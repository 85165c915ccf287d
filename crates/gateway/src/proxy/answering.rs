//! The way back to the client, for the upstream's responses and for our own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{
    Result,
    http::{RequestHeader, ResponseHeader},
    protocols::http::date::get_cached_date,
    proxy::Session,
};

use crate::{
    answer::Answer,
    chain::{Chain, Turn},
    exchange::{Exchange, Facts},
    log::AccessLog,
    request,
    status::VERSION,
};

/// How long a body is still read that nobody needs, as nginx does.
const LINGER: Duration = Duration::from_secs(5);

const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-apisix-upstream-status");

/// Sends an answer of our own, through the same plugins as any response.
pub async fn send(session: &mut Session, exchange: &mut Exchange, answer: Answer) -> Result<()> {
    let (mut head, bytes) = answer.render()?;
    head.insert_header(header::DATE, get_cached_date())?;
    dress(session.req_header(), &mut head, exchange)?;
    let mut bytes = Some(bytes);
    body(exchange, &mut bytes, true);
    let bytes = bytes.unwrap_or_default();
    let bodiless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !bodiless {
        head.insert_header(header::CONTENT_LENGTH, bytes.len())?;
    }
    let silent = bodiless || bytes.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(head), silent).await?;
    if !silent {
        session.write_response_body(Some(bytes), true).await?;
    }
    linger(session).await;
    Ok(())
}

/// The head of the response, if it is on its way; a `100 Continue` is none.
pub fn answered(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|head| {
        !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS
    })
}

/// Takes in what the client still sends, for a while: closing at once would reset the connection,
/// and the client might lose the answer.
async fn linger(session: &mut Session) {
    // A client that asks first does not send what was refused.
    let asks = session.req_header().headers.contains_key(header::EXPECT);
    session.set_total_drain_timeout(Some(LINGER));
    if asks || session.drain_request_body().await.is_err() {
        session.set_keepalive(None);
    }
}

/// Puts the gateway's headers on a response, then lets the plugins at it.
pub fn dress(
    request: &RequestHeader,
    response: &mut ResponseHeader,
    exchange: &mut Exchange,
) -> Result<()> {
    response.insert_header(header::SERVER, HeaderValue::from_static(VERSION))?;
    if exchange.attempts.statuses.last().is_some_and(|status| *status >= 500)
        && let Some(statuses) = exchange.attempts.statuses()
    {
        response.insert_header(UPSTREAM_STATUS, statuses)?;
    }
    let chains = chains(exchange);
    for turn in Turn::ALL {
        for chain in chains.iter().flatten() {
            chain.response_headers(turn, exchange, request, response);
        }
    }
    Ok(())
}

/// The response as an answer of our own, if it has no body and a plugin gives it one: Pingora knows no
/// moment to send a body that the upstream has not sent.
pub fn filled(
    request: &RequestHeader,
    response: &ResponseHeader,
    exchange: &mut Exchange,
) -> Option<Box<Answer>> {
    let can_have_one = request.method != Method::HEAD
        && !response.status.is_informational()
        && !matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !can_have_one || request::length(&response.headers) != Some(0) {
        return None;
    }
    let mut chains = chains(exchange).into_iter().flatten();
    let fills = chains.any(|chain| chain.fills(exchange, request, response));
    fills.then(|| Box::new(Answer::like(response)))
}

/// Lets the plugins at a piece of the body.
pub fn body(exchange: &mut Exchange, bytes: &mut Option<Bytes>, end: bool) {
    let reads = |chain: &Arc<Chain>| chain.reads_bodies();
    if reads(&exchange.snapshot.global) || exchange.chain.as_ref().is_some_and(reads) {
        let chains = chains(exchange);
        for turn in Turn::ALL {
            for chain in chains.iter().flatten() {
                chain.response_body(turn, exchange, bytes, end);
            }
        }
    }
    if let Some(bytes) = bytes {
        let response = &mut exchange.response;
        exchange.tapes.response.record(response.recorded, bytes);
        response.recorded = response.recorded.saturating_add(bytes.len() as u64);
    }
}

/// Tells the plugins and the access log that the request is over.
pub fn log(session: &Session, exchange: &Exchange, access_log: Option<&AccessLog>) {
    let facts = Facts { exchange, request: session.req_header(), response: answered(session) };
    let chain = exchange.chain.as_deref();
    exchange.snapshot.global.log(&facts, chain);
    if let Some(chain) = chain {
        chain.log(&facts, None);
    }
    if let Some(access_log) = access_log {
        access_log.write(&facts);
    }
}

/// Those of all routes and those of the route, in the order they run.
fn chains(exchange: &Exchange) -> [Option<Arc<Chain>>; 2] {
    [Some(Arc::clone(&exchange.snapshot.global)), exchange.chain.clone()]
}
