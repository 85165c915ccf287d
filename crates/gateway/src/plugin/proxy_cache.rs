//! proxy-cache: keeps responses of upstreams and answers with them.
//!
//! A response is kept as it is when this plugin sees it, before plugins of lower priority change it;
//! they see the kept one again. `HEAD` is answered from what `GET` has left, and leaves nothing itself.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use gantry_routing::vars::{Var, Vars};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, Shared, body, config,
    freshness::{self, Directives},
    limit::now_ms,
    room::Claim,
};
use crate::{
    answer::Answer,
    exchange::{Exchange, Source},
    zone::{Content, Stored, Zone},
};

pub(super) const KIND: Kind =
    Kind { name: "proxy-cache", compile: ProxyCache::compile, identify: None };

const CACHE_STATUS: HeaderName = HeaderName::from_static("apisix-cache-status");

/// Headers of one connection or one request, which are not kept.
const TRANSIENT: [HeaderName; 12] = [
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
    HeaderName::from_static("x-ratelimit-remaining"),
];

#[derive(Deserialize)]
struct Config {
    cache_zone: String,
    cache_strategy: String,
    cache_key: Vec<Part>,
    cache_method: Vec<String>,
    cache_http_status: Vec<u16>,
    #[serde(default)]
    cache_bypass: Vec<Part>,
    #[serde(default)]
    no_cache: Vec<Part>,
    hide_cache_headers: bool,
    cache_control: bool,
    cache_set_cookie: bool,
    cache_ttl: u64,
    consumer_isolation: bool,
    max_resp_body_size: usize,
}

/// A text, or the value of a variable.
#[derive(Deserialize)]
#[serde(from = "String")]
enum Part {
    Text(String),
    Variable(String),
}

struct ProxyCache(Arc<Cache>);

struct Cache {
    shared: Arc<Shared>,
    zone: Zone,
    config: Config,
    /// Whether keys begin with who asks.
    isolates: bool,
}

/// What the cache knows about a request, left in [`Exchange::notes`].
#[derive(Clone)]
struct Visit {
    owner: usize,
    /// What the client is told.
    status: Option<&'static str>,
    /// Where the response is to be kept; None keeps nothing.
    key: Option<String>,
    recording: Option<Recording>,
}

/// A response that is on its way and will be kept once it is complete.
#[derive(Clone)]
struct Recording {
    /// Headers of the request that the response depends on.
    varies: Vec<String>,
    key: String,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    seconds: u64,
    pieces: Vec<(Bytes, Claim)>,
    length: usize,
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        match text.strip_prefix('$') {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Text(text),
        }
    }
}

impl Part {
    fn append(&self, vars: &dyn Vars, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Variable(name) => {
                let value = vars.var(name);
                out.push_str(&value.as_ref().and_then(Var::text).unwrap_or_default());
            }
        }
    }

    /// Whether it is something else than nothing or "0".
    fn is_set(&self, vars: &dyn Vars) -> bool {
        let mut text = String::new();
        self.append(vars, &mut text);
        !text.is_empty() && text != "0"
    }

    fn names(&self, variables: &[&str]) -> bool {
        matches!(self, Self::Variable(name) if variables.contains(&&**name))
    }
}

impl ProxyCache {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let (name, strategy) = (&config.cache_zone, &config.cache_strategy);
        let zone = place.shared.zones.get(name);
        let zone = zone.ok_or_else(|| format!("this gateway has no `cache_zone` {name}"))?;
        if matches!(zone, Zone::Memory(_)) != (strategy == "memory") {
            return Err(format!("the zone {name} is not for the strategy {strategy}"));
        }
        if config.cache_key.iter().any(|part| part.names(&["request_method"])) {
            return Err("`cache_key` must not contain $request_method".to_owned());
        }
        let named =
            config.cache_key.iter().any(|part| part.names(&["consumer_name", "remote_user"]));
        Ok(Arc::new(Self(Arc::new(Cache {
            shared: Arc::clone(place.shared),
            zone,
            isolates: config.consumer_isolation && !named,
            config,
        }))))
    }
}

impl Plugin for ProxyCache {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let cache = &self.0;
        let key = cache.key(exchange, request);
        if request.method.as_str() == "PURGE" {
            return cache.purge(key);
        }
        let (status, keeps) = match cache.passes_by(exchange, request) {
            Some(passing) => passing,
            None => {
                cache.visit(exchange, Some("MISS"), Some(key.clone()));
                return cache.look(key, exchange, request);
            }
        };
        cache.visit(exchange, status, keeps.then_some(key));
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        let Some(visit) = self.0.known(exchange) else { return };
        let (status, key) = (visit.status, visit.key.take());
        if let Some(recording) = key.and_then(|key| self.0.record(key, exchange, request, response))
        {
            if body::is_absent(response) {
                self.0.keep(recording);
            } else if let Some(visit) = self.0.known(exchange) {
                visit.recording = Some(recording);
            }
        }
        if let Some(status) = status {
            // Fails only if the header map is full.
            let _ = response.insert_header(CACHE_STATUS, status);
        }
        if self.0.config.hide_cache_headers {
            response.remove_header(&header::CACHE_CONTROL);
            response.remove_header(&header::EXPIRES);
        }
    }

    fn reads_bodies(&self) -> bool {
        true
    }

    fn response_body(&self, exchange: &mut Exchange, piece: &mut Option<Bytes>, end: bool) {
        let Some(visit) = self.0.known(exchange) else { return };
        let Some(mut recording) = visit.recording.take() else { return };
        if let Some(piece) = piece.as_ref().filter(|piece| !piece.is_empty()) {
            recording.length = recording.length.saturating_add(piece.len());
            if recording.length > self.0.config.max_resp_body_size {
                return;
            }
            let Some(claim) = self.0.shared.room.claim(piece.len()) else { return };
            recording.pieces.push((piece.clone(), claim));
        }
        if end {
            self.0.keep(recording);
        } else {
            visit.recording = Some(recording);
        }
    }
}

impl Cache {
    fn in_memory(&self) -> bool {
        matches!(self.zone, Zone::Memory(_))
    }

    /// Whether the directives of clients and upstreams are heeded.
    fn heeds(&self) -> bool {
        self.in_memory() && self.config.cache_control
    }

    fn identity(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn visit(&self, exchange: &mut Exchange, status: Option<&'static str>, key: Option<String>) {
        exchange.notes.insert(Visit { owner: self.identity(), status, key, recording: None });
    }

    fn known<'a>(&self, exchange: &'a mut Exchange) -> Option<&'a mut Visit> {
        exchange.notes.get_mut::<Visit>().filter(|visit| visit.owner == self.identity())
    }

    fn key(&self, exchange: &Exchange, request: &RequestHeader) -> String {
        let facts = exchange.facts(request);
        let mut key = String::new();
        if self.isolates {
            let name = facts.var("consumer_name").or_else(|| facts.var("remote_user"));
            if let Some(name) = name.as_ref().and_then(Var::text) {
                key.push_str(&name);
                key.push('\x01');
            }
        }
        for part in &self.config.cache_key {
            part.append(&facts, &mut key);
        }
        key
    }

    /// What the client is told and whether the response is kept all the same, if the cache is not
    /// asked.
    fn passes_by(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Option<(Option<&'static str>, bool)> {
        let (facts, memory) = (exchange.facts(request), self.in_memory());
        if !self.config.cache_method.iter().any(|method| method == request.method.as_str()) {
            return Some((memory.then_some("MISS"), false));
        }
        if self.config.cache_bypass.iter().any(|part| part.is_set(&facts)) {
            return Some((Some("BYPASS"), !memory));
        }
        let directives = Directives::of(&request.headers);
        let refuses = self.heeds() && (directives.has("no-store") || directives.has("no-cache"));
        refuses.then_some((Some("BYPASS"), false))
    }

    fn purge(&self, key: String) -> Flow {
        let answer = |purged: bool| match purged {
            true => Flow::from(Answer::text(StatusCode::OK, "")),
            false => Flow::from(Answer::page(StatusCode::NOT_FOUND)),
        };
        if self.in_memory() {
            return answer(self.zone.purge(&key));
        }
        let zone = self.zone.clone();
        let purging = tokio::task::spawn_blocking(move || zone.purge(&key));
        Flow::wait(purging, move |purged, _, _| answer(purged.unwrap_or(false)))
    }

    /// Looks for what is kept under a key, without holding other requests up.
    fn look(
        self: &Arc<Self>,
        key: String,
        exchange: &mut Exchange,
        request: &mut RequestHeader,
    ) -> Flow {
        if self.in_memory() {
            return self.found(self.zone.find(&key).as_deref(), exchange, request);
        }
        let (cache, zone) = (Arc::clone(self), self.zone.clone());
        let finding = tokio::task::spawn_blocking(move || zone.find(&key));
        Flow::wait(finding, move |found, exchange, request| {
            cache.found(found.ok().flatten().as_deref(), exchange, request)
        })
    }

    /// Answers with what was found, goes on to the variant for this request, or to the upstream.
    fn found(
        self: &Arc<Self>,
        found: Option<&Stored>,
        exchange: &mut Exchange,
        request: &mut RequestHeader,
    ) -> Flow {
        let status = match found {
            None => None,
            Some(Stored { key, content: Content::Variants { names, .. }, .. }) => {
                // A variant has no variants.
                if self.known(exchange).is_none_or(|visit| visit.key.as_ref() != Some(key)) {
                    return Flow::Next;
                }
                return self.look(variant(key, names, request), exchange, request);
            }
            Some(stored) => match self.judge(stored, request) {
                Ok(answer) => {
                    self.visit(exchange, Some("HIT"), None);
                    return answer.into();
                }
                Err(status) => Some(status),
            },
        };
        if let (Some(status), Some(visit)) = (status, self.known(exchange)) {
            visit.status = Some(status);
        }
        if status.is_none()
            && self.heeds()
            && Directives::of(&request.headers).has("only-if-cached")
        {
            return Answer::page(StatusCode::GATEWAY_TIMEOUT).into();
        }
        Flow::Next
    }

    /// The answer, if what is kept is fresh enough for this request; or what it is instead.
    fn judge(&self, stored: &Stored, request: &RequestHeader) -> Result<Answer, &'static str> {
        let now_ms = now_ms();
        if stored.expires_ms <= now_ms {
            return Err("EXPIRED");
        }
        let age = now_ms.saturating_sub(stored.stored_ms) / 1000;
        let left = (stored.expires_ms - now_ms) / 1000;
        if self.heeds() {
            let directives = Directives::of(&request.headers);
            if directives.seconds("max-age").is_some_and(|max| age > max)
                || directives.seconds("min-fresh").is_some_and(|min| left < min)
            {
                return Err("STALE");
            }
        }
        let Content::Response { status, headers, body } = &stored.content else {
            return Err("MISS");
        };
        let known = *status == StatusCode::OK && is_known(request, headers);
        let mut answer = match known {
            true => Answer::text(StatusCode::NOT_MODIFIED, ""),
            false => Answer::text(*status, body.clone()),
        };
        answer.headers.clone_from(headers);
        if self.in_memory() {
            answer.headers.push((header::AGE, HeaderValue::from(age)));
        }
        Ok(answer)
    }

    /// How a response will be kept, if it will.
    fn record(
        &self,
        key: String,
        exchange: &Exchange,
        request: &RequestHeader,
        response: &ResponseHeader,
    ) -> Option<Recording> {
        let (config, headers) = (&self.config, &response.headers);
        let facts = exchange.facts(request);
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
        let length = length.and_then(|length| length.parse::<usize>().ok());
        let cookies = config.cache_set_cookie && self.in_memory();
        let keeps = exchange.response.source == Source::Upstream
            && request.method != Method::HEAD
            && response.status != StatusCode::PARTIAL_CONTENT
            && config.cache_http_status.contains(&response.status.as_u16())
            && !config.no_cache.iter().any(|part| part.is_set(&facts))
            && (cookies || !headers.contains_key(header::SET_COOKIE))
            && length.is_none_or(|length| length <= config.max_resp_body_size);
        if !keeps {
            return None;
        }
        let now_ms = now_ms();
        let seconds = match self.in_memory() {
            true => freshness::in_memory(headers, config.cache_ttl, config.cache_control, now_ms),
            false => freshness::on_disk(headers, self.shared.zones.ttl.as_secs(), now_ms),
        };
        let varies = varies(response)?;
        let key = if varies.is_empty() { key } else { variant(&key, &varies, request) };
        let kept = |(name, _): &(&HeaderName, &HeaderValue)| !TRANSIENT.contains(name);
        let headers = headers.iter().filter(kept).map(|(n, v)| (n.clone(), v.clone())).collect();
        let status = response.status;
        let seconds = seconds?;
        Some(Recording { varies, key, status, headers, seconds, pieces: Vec::new(), length: 0 })
    }

    /// Puts a complete response into the zone.
    fn keep(&self, recording: Recording) {
        let Recording { varies, key, status, headers, seconds, pieces, length } = recording;
        let stored_ms = now_ms();
        let base = key.split('\x02').next().unwrap_or("").to_owned();
        let body = match &*pieces {
            [(piece, _)] => piece.clone(),
            pieces => {
                let mut body = BytesMut::with_capacity(length);
                pieces.iter().for_each(|(piece, _)| body.extend_from_slice(piece));
                body.freeze()
            }
        };
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
}

/// The headers of the request that a response depends on; None if it depends on everything.
fn varies(response: &ResponseHeader) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in response.headers.get_all(header::VARY) {
        names.extend(line.to_str().ok()?.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    (!names.iter().any(|name| name == "*")).then_some(names)
}

/// The key of the variant for this request. Neither URIs nor headers contain the separator.
fn variant(key: &str, names: &[String], request: &RequestHeader) -> String {
    let mut variant = key.to_owned();
    for name in names {
        variant.push('\x02');
        for value in request.headers.get_all(name) {
            variant.push_str(&String::from_utf8_lossy(value.as_bytes()));
            variant.push('\x03');
        }
    }
    variant
}

/// Whether the client says that it has this response already.
fn is_known(request: &RequestHeader, headers: &[(HeaderName, HeaderValue)]) -> bool {
    let kept = |wanted: &HeaderName| {
        headers.iter().find(|(name, _)| name == wanted).and_then(|(_, value)| value.to_str().ok())
    };
    let asked = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(tags) = asked(header::IF_NONE_MATCH) {
        let Some(tag) = kept(&header::ETAG) else { return false };
        let strong = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        return tags.split(',').any(|known| known.trim() == "*" || strong(known) == strong(tag));
    }
    let modified = kept(&header::LAST_MODIFIED);
    modified.is_some() && asked(header::IF_MODIFIED_SINCE) == modified
}
