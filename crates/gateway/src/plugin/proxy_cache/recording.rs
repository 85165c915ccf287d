//! Responses on their way: which are kept, and how.

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};

use super::{Cache, key};
use crate::{
    clock::now_ms,
    exchange::{Exchange, Source},
    plugin::{freshness, room::Claim},
    request::length,
    zone::{Content, Stored},
};

/// Headers of one connection or one request, which are not kept.
const TRANSIENT: [HeaderName; 11] = [
    header::AGE,
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// What names of headers have in them that tell one client what is left of its quota.
const QUOTA: &str = "ratelimit-remaining";

/// A response that is on its way and will be kept once it is complete.
#[derive(Clone)]
pub struct Recording {
    /// Headers of the request that the response depends on.
    varies: Vec<String>,
    key: String,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    seconds: u64,
    pieces: Vec<(Bytes, Claim)>,
    length: usize,
}

impl Cache {
    /// How a response will be kept, if it will.
    pub(super) fn record(
        &self,
        key: String,
        exchange: &Exchange,
        request: &RequestHeader,
        response: &ResponseHeader,
    ) -> Option<Recording> {
        let (config, headers) = (&self.config, &response.headers);
        let facts = exchange.facts(request);
        let cookies = config.cache_set_cookie && self.in_memory();
        let keeps = exchange.response.source == Source::Upstream
            && request.method != Method::HEAD
            && response.status != StatusCode::PARTIAL_CONTENT
            && config.cache_http_status.contains(&response.status.as_u16())
            && !config.no_cache.iter().any(|part| part.is_set(&facts))
            && (cookies || !headers.contains_key(header::SET_COOKIE))
            && length(headers).is_none_or(|length| length < config.max_resp_body_size as u64);
        if !keeps {
            return None;
        }
        let now_ms = now_ms();
        let seconds = match self.in_memory() {
            true => freshness::in_memory(headers, config.cache_ttl, config.cache_control, now_ms),
            false => freshness::on_disk(headers, self.shared.zones.ttl.as_secs(), now_ms),
        };
        let varies = key::varies(response)?;
        let key = if varies.is_empty() { key } else { key::variant(&key, &varies, request) };
        let kept = |(name, _): &(&HeaderName, &HeaderValue)| {
            !TRANSIENT.contains(name) && !name.as_str().contains(QUOTA)
        };
        let headers = headers.iter().filter(kept).map(|(n, v)| (n.clone(), v.clone())).collect();
        let status = response.status;
        let seconds = seconds?;
        Some(Recording { varies, key, status, headers, seconds, pieces: Vec::new(), length: 0 })
    }

    /// Puts a complete response into the zone.
    pub(super) fn keep(&self, recording: Recording) {
        let Recording { varies, key, status, headers, seconds, pieces, length } = recording;
        let stored_ms = now_ms();
        let base = key::base(&key).to_owned();
        let mut body = BytesMut::with_capacity(length);
        // Copied, because a piece may be a small part of a large buffer.
        pieces.iter().for_each(|(piece, _)| body.extend_from_slice(piece));
        let body = body.freeze();
        let expires_ms = stored_ms.saturating_add(seconds.saturating_mul(1000));
        let content = Content::Response { status, headers, body };
        let stored = Stored { key, stored_ms, expires_ms, content };
        if self.in_memory() {
            return self.zone.put(&base, varies, stored);
        }
        let zone = self.zone.clone();
        self.shared.background.spawn(async move {
            // The room is given back when the body has been written.
            let writing = tokio::task::spawn_blocking(move || {
                zone.put(&base, varies, stored);
                drop(pieces);
            });
            if let Err(error) = writing.await {
                tracing::error!(%error, "a response could not be cached");
            }
        });
    }

    /// Adds a piece of the body. False if the response cannot be kept after all.
    pub(super) fn add(&self, recording: &mut Recording, piece: &Bytes) -> bool {
        recording.length = recording.length.saturating_add(piece.len());
        if recording.length >= self.config.max_resp_body_size {
            return false;
        }
        let claim = self.shared.room.claim(piece.len());
        claim.map(|claim| recording.pieces.push((piece.clone(), claim))).is_some()
    }
}
