//! Bodies of requests that plugins look at: read whole before the request goes on, then sent to the
//! upstream from memory, as often as it takes. A body nobody asks for never comes here; it streams.

mod replay;

use bytes::BytesMut;
use http::header::EXPECT;
use pingora::{Error, Result, proxy::Session};

use crate::{exchange::Exchange, plugin::BodyLimit, request};
use replay::Replay;
pub use replay::Slot;

/// What is reserved at once for a body, however long it claims to be.
const RESERVED_MAX: u64 = 64 << 10;

/// Reads the body into [`Exchange::body`], unless it is there. False if it has more than `limit`
/// bytes, or more than the limit of the route; the rest of it is then still unread.
pub async fn read(session: &mut Session, exchange: &mut Exchange, limit: u64) -> Result<bool> {
    let fits = |length: usize, limit: u64| length as u64 <= limit;
    if let Some(body) = &exchange.body {
        return Ok(fits(body.len(), limit));
    }
    let limit = exchange.notes.get().map_or(limit, |BodyLimit(own)| limit.min(*own));
    let declared = request::length(&session.req_header().headers);
    if declared.is_some_and(|length| length > limit) {
        return Ok(false);
    }
    if session.req_header_mut().remove_header(&EXPECT).is_some() {
        invite(session).await.map_err(Error::into_down)?;
    }
    let reserved = declared.unwrap_or(0).min(RESERVED_MAX);
    let mut body = BytesMut::with_capacity(usize::try_from(reserved).unwrap_or(0));
    while let Some(piece) = session.as_mut().read_request_body().await.map_err(Error::into_down)? {
        if !fits(body.len() + piece.len(), limit) {
            return Ok(false);
        }
        body.extend_from_slice(&piece);
    }
    exchange.body = Some(body.freeze());
    Ok(true)
}

/// Tells a client that waits for it to send its body.
async fn invite(session: &mut Session) -> Result<()> {
    // Pingora takes this for an answer that comes before the body, and would close.
    let kept = session.get_keepalive();
    session.as_mut().write_continue_response().await?;
    session.set_keepalive(kept);
    Ok(())
}

/// Lets the proxy find the body that was read, or what a plugin has put in its place.
pub fn hold(session: &mut Session, exchange: &mut Exchange) {
    let Some(body) = &exchange.body else { return };
    if !(body.is_empty() && session.as_mut().is_body_empty()) {
        exchange.held = Some(Replay::wrap(&mut session.downstream_session, body.clone()));
    }
}

/// Undoes [`hold`]: the connection is the client's again, to be answered and kept.
pub fn release(session: &mut Session, exchange: &mut Exchange) {
    if let Some(slot) = exchange.held.take() {
        slot.restore(&mut session.downstream_session);
    }
}
