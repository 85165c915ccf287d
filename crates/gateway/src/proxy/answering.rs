//! The way back to the client, for the upstream's responses and for our own.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::{
    Error, Result,
    http::{RequestHeader, ResponseHeader},
    protocols::http::date::get_cached_date,
    proxy::Session,
};

use crate::{
    answer::Answer,
    chain::{Chain, Turn},
    exchange::{Exchange, Facts},
    log::AccessLog,
    part::Part,
    request,
    status::VERSION,
};

/// How long a body is still read that nobody needs, as nginx does.
const LINGER: Duration = Duration::from_secs(5);

const UPSTREAM_STATUS: HeaderName = HeaderName::from_static("x-apisix-upstream-status");

/// Sends an answer of our own, through the same plugins as any response.
pub async fn send(session: &mut Session, exchange: &mut Exchange, answer: Answer) -> Result<()> {
    write(session, exchange, answer).await?;
    linger(session).await;
    Ok(())
}

/// Answers in place of an upstream whose response has no body, if a plugin gives it one: Pingora knows
/// no moment to send a body that the upstream has not sent. True if so; `response` is then one that
/// Pingora does not send, and everything else goes on as if it had: both connections can be kept.
pub async fn fill(
    session: &mut Session,
    response: &mut ResponseHeader,
    exchange: &mut Exchange,
) -> Result<bool> {
    if !is_filled(session.req_header(), response, exchange) {
        return Ok(false);
    }
    write(session, exchange, Answer::like(response)).await.map_err(Error::into_down)?;
    session.downstream_session.set_ignore_info_resp(true);
    response.set_status(StatusCode::EARLY_HINTS)?;
    Ok(true)
}

async fn write(session: &mut Session, exchange: &mut Exchange, answer: Answer) -> Result<()> {
    exchange.response.is_whole = true;
    let (mut head, bytes) = answer.render()?;
    if !head.headers.contains_key(header::DATE) {
        head.insert_header(header::DATE, get_cached_date())?;
    }
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
    with_chains(exchange, |chains, exchange| {
        for turn in Turn::ALL {
            for chain in chains.iter().flatten() {
                chain.response_headers(turn, exchange, request, response);
            }
        }
    });
    if exchange.outgoing.whole {
        exchange.part = Part::of(request, response, &exchange.response);
    }
    Ok(())
}

/// Whether a response has no body, may have one, and gets one from a plugin.
fn is_filled(request: &RequestHeader, response: &ResponseHeader, exchange: &mut Exchange) -> bool {
    request.method != Method::HEAD
        && request::length(&response.headers) == Some(0)
        && !matches!(response.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        && with_chains(exchange, |chains, exchange| {
            chains.iter().flatten().any(|chain| chain.fills(exchange, request, response))
        })
}

/// Lets the plugins at a piece of the body.
pub fn body(exchange: &mut Exchange, bytes: &mut Option<Bytes>, end: bool) {
    with_chains(exchange, |chains, exchange| {
        if !chains.iter().flatten().any(|chain| chain.reads_bodies()) {
            return;
        }
        for turn in Turn::ALL {
            for chain in chains.iter().flatten() {
                chain.response_body(turn, exchange, bytes, end);
            }
        }
    });
    if let Some(part) = &mut exchange.part {
        part.cut(bytes, end);
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

/// Runs something with the plugins of all routes and those of the route, in this order. They are out of
/// the exchange meanwhile, so that plugins can change it: counting references would cost more, as all
/// threads count those of all routes.
fn with_chains<T>(
    exchange: &mut Exchange,
    run: impl FnOnce([Option<&Chain>; 2], &mut Exchange) -> T,
) -> T {
    let (global, chain) = (exchange.global.take(), exchange.chain.take());
    let outcome = run([global.as_deref(), chain.as_deref()], exchange);
    (exchange.global, exchange.chain) = (global, chain);
    outcome
}
