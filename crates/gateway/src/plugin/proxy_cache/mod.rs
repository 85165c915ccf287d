//! proxy-cache: keeps responses of upstreams and answers with them.
//!
//! A response is kept as it is when this plugin sees it, before plugins of lower priority change it;
//! they see the kept one again. Ranges are cut out of it, if the upstream says that it has ranges; for the
//! disk the upstream is asked for the whole. `HEAD` is answered from what `GET` has left, and leaves nothing itself.

mod key;
mod recording;

use std::sync::Arc;

use bytes::Bytes;
use gantry_routing::vars::{Var, Vars};
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, Shared, body, config, freshness::Directives, identity};
use crate::{
    answer::Answer,
    clock::now_ms,
    exchange::Exchange,
    zone::{Content, Stored, Zone},
};

use key::Part;
use recording::Recording;

pub(super) const KIND: Kind =
    Kind { name: "proxy-cache", compile: ProxyCache::compile, identify: None };

const CACHE_STATUS: HeaderName = HeaderName::from_static("apisix-cache-status");

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
        let purges = request.method.as_str() == "PURGE";
        let Some(key) = cache.key(exchange, request) else {
            cache.visit(exchange, Some("BYPASS"), None);
            return if purges { Answer::page(StatusCode::NOT_FOUND).into() } else { Flow::Next };
        };
        if purges {
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
                exchange.response.is_kept = true;
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
        if let Some(piece) = piece.as_ref().filter(|piece| !piece.is_empty())
            && !self.0.add(&mut recording, piece)
        {
            return;
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

    fn visit(&self, exchange: &mut Exchange, status: Option<&'static str>, key: Option<String>) {
        // A part cannot be kept: for the disk the whole is asked for, as nginx does. For memory APISIX
        // leaves it to the upstream.
        exchange.outgoing.whole |= key.is_some() && !self.in_memory();
        exchange.notes.insert(Visit { owner: identity(self), status, key, recording: None });
    }

    fn known<'a>(&self, exchange: &'a mut Exchange) -> Option<&'a mut Visit> {
        exchange.notes.get_mut::<Visit>().filter(|visit| visit.owner == identity(self))
    }

    /// What a request asks for; None if it could be taken for something else, because a path or an
    /// argument brings a separator.
    fn key(&self, exchange: &Exchange, request: &RequestHeader) -> Option<String> {
        let facts = exchange.facts(request);
        let mut key = String::new();
        if self.isolates {
            let name = facts.var("consumer_name").or_else(|| facts.var("remote_user"));
            if let Some(name) = name.as_ref().and_then(Var::text) {
                key.push_str(&name);
                key.push(key::CONSUMER_END);
            }
        }
        let start = key.len();
        for part in &self.config.cache_key {
            part.append(&facts, &mut key);
        }
        (!key.bytes().skip(start).any(key::separates)).then_some(key)
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
                return self.look(key::variant(key, names, request), exchange, request);
            }
            Some(stored) => match self.judge(stored, request) {
                Ok(answer) => {
                    self.visit(exchange, Some("HIT"), None);
                    exchange.outgoing.whole = true;
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
        if !known && !body.is_empty() {
            answer.headers.push((header::CONTENT_LENGTH, HeaderValue::from(body.len())));
        }
        if self.in_memory() {
            answer.headers.push((header::AGE, HeaderValue::from(age)));
        }
        Ok(answer)
    }
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
