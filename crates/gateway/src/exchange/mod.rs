//! One request on its way: what is known about it, what has been decided, and when.
//! Holds the one [`Snapshot`] the request sees from its first to its last byte.

mod client;
mod document;
mod facts;
mod form;
mod graphql;
#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Extensions, HeaderValue, Method};
use pingora::http::RequestHeader;
use smallvec::SmallVec;

pub use client::Client;
pub use facts::Facts;

use crate::{
    body::Slot,
    chain::Chain,
    consumer::{Consumer, Credential},
    log::Tapes,
    part::Part,
    plugin::Decision,
    request::X_FORWARDED_PROTO,
    route::Candidate,
    snapshot::Snapshot,
    tls::Handshake,
    upstream::{Lease, Members, Node, PassHost, Pool, Report, Upstream, Use},
};

/// The state of one request.
pub struct Exchange {
    pub snapshot: Arc<Snapshot>,
    pub started: Instant,
    pub connection: Connection,
    /// The client's address; plugins such as real-ip may replace it.
    pub client: Client,
    /// What was agreed on in the TLS handshake, if there was one.
    pub handshake: Option<Arc<Handshake>>,
    /// The normalised path, if it differs from the one on the wire.
    pub path: Option<String>,
    /// Whether the request's `X-Forwarded-*` are no longer those that came.
    pub(crate) forwarding_noted: bool,
    /// None until a route matched, and for good if none does.
    pub route: Option<Candidate>,
    /// The plugins of all routes; not there while they run.
    pub(crate) global: Option<Arc<Chain>>,
    /// The plugins of the matched route, later merged with those of the consumer.
    pub chain: Option<Arc<Chain>>,
    pub consumer: Option<Arc<Consumer>>,
    /// Changes a plugin asked for; the request itself keeps what the client sent.
    pub outgoing: Outgoing,
    /// The request's body, once a plugin has asked for it; what plugins leave here is what the
    /// upstream gets. None lets it stream.
    pub body: Option<Bytes>,
    /// The fields of the body, once somebody has asked for one; None if it has none.
    pub(crate) document: OnceLock<Option<serde_json::Value>>,
    /// Whether a variable of the body was asked for before the body was there.
    pub(crate) body_wanted: AtomicBool,
    /// Where the client's connection comes back from while `body` is sent.
    pub(crate) held: Option<Slot>,
    pub attempts: Attempts,
    pub response: Response,
    /// What the client gets of the response, if that is not everything.
    pub(crate) part: Option<Part>,
    /// Bodies as far as somebody wants to log them.
    pub tapes: Tapes,
    /// State of single plugins, one value per type.
    pub notes: Extensions,
    /// What limit-count has decided last. No note, as most requests have one and notes cost allocations.
    pub(crate) decision: Option<Decision>,
    /// Results of `_meta.filter` by link, each found out once per request.
    pub(crate) filtered: Vec<(usize, bool)>,
    /// `$request_id`, made when somebody asks.
    id: OnceLock<String>,
}

/// The connection the request came by.
#[derive(Debug, Clone, Copy)]
pub struct Connection {
    pub peer: SocketAddr,
    pub server: SocketAddr,
    pub tls: bool,
    /// Whether these addresses are what a load balancer says in the PROXY protocol.
    pub proxied: bool,
}

/// What the upstream shall get instead of what the client sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// Path and query, percent-encoded.
    pub target: Option<String>,
    pub host: Option<HeaderValue>,
    pub method: Option<Method>,
    /// The whole of what the client may have asked for a part of, which is cut out of the response.
    pub whole: bool,
}

/// The tries to reach an upstream.
#[derive(Default)]
pub struct Attempts {
    pub upstream: Option<Arc<Upstream>>,
    /// The upstream's nodes as they were at the first try.
    pub pool: Option<Arc<Pool>>,
    /// The nodes asked so far, as indices into the pool; the last one answered.
    pub tried: SmallVec<[usize; 2]>,
    /// Held while the node works, for balancers that count.
    pub(crate) lease: Option<Lease>,
    /// Its connection, if the upstream has bounds for those.
    pub(crate) connection: Option<Use>,
    /// Connections from the pool that turned out to be dead; their tries do not count.
    pub(crate) stale: u8,
    /// The address of the node asked last.
    pub address: Option<SocketAddr>,
    /// The statuses the tries ended with; 502 or 504 for those without an answer.
    pub statuses: SmallVec<[u16; 4]>,
    /// How long connecting took, for each try; None for those that did not get that far.
    pub connects: SmallVec<[Option<Duration>; 2]>,
    /// When the last try began to connect, while it does.
    pub(crate) connecting: Option<Instant>,
    /// When the first try began.
    pub began: Option<Instant>,
    /// Bytes of the request's body that came through during the last try.
    pub body_bytes: u64,
    /// From the first try to the response head.
    pub header_time: Option<Duration>,
    /// From the first try to the last byte of the response.
    pub response_time: Option<Duration>,
}

/// Who made the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// The gateway: a plugin, or no route, or no upstream.
    #[default]
    Gateway,
    /// The gateway's proxying part, because no upstream could be reached in time.
    Proxy,
    Upstream,
}

impl Source {
    /// The word for it in metrics and traces.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gateway => "apisix",
            Self::Proxy => "nginx",
            Self::Upstream => "upstream",
        }
    }
}

/// What is known about the response.
#[derive(Debug, Default)]
pub struct Response {
    pub status: u16,
    pub source: Source,
    /// Whether the body comes as one piece whose length is set when it is sent.
    pub is_whole: bool,
    /// Whether somebody keeps the body, and wants it to its end.
    pub is_kept: bool,
    /// Bytes of the body sent to the client.
    pub body_bytes: usize,
    /// Bytes of the body made so far.
    pub(crate) recorded: u64,
}

impl Exchange {
    /// A request nothing is known about yet.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Self {
            global: Some(Arc::clone(&snapshot.global)),
            snapshot,
            started: Instant::now(),
            connection: Connection { peer: nowhere, server: nowhere, tls: false, proxied: false },
            client: Client::new(nowhere),
            handshake: None,
            path: None,
            forwarding_noted: false,
            route: None,
            chain: None,
            consumer: None,
            outgoing: Outgoing::default(),
            body: None,
            document: OnceLock::new(),
            body_wanted: AtomicBool::new(false),
            held: None,
            attempts: Attempts::default(),
            response: Response::default(),
            part: None,
            tapes: Tapes::default(),
            notes: Extensions::new(),
            decision: None,
            filtered: Vec::new(),
            id: OnceLock::new(),
        }
    }

    /// This request as the variables of expressions and templates.
    #[must_use]
    pub fn facts<'a>(&'a self, request: &'a RequestHeader) -> Facts<'a> {
        Facts { exchange: self, request, response: None }
    }

    /// The normalised path, decoded and without query: `$uri`.
    #[must_use]
    pub fn path<'a>(&'a self, request: &'a RequestHeader) -> &'a str {
        self.path.as_deref().unwrap_or_else(|| request.uri.path())
    }

    /// 32 random hexadecimal digits that are this request's own.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.get_or_init(|| format!("{:032x}", rand::random::<u128>()))
    }

    /// `https` or `http`, as the client spoke to this gateway.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.connection.tls { "https" } else { "http" }
    }

    /// The scheme the client has used before any proxy: what a peer says that is believed. Whatever
    /// others have said, the gateway has put its own in place of it.
    #[must_use]
    pub fn client_scheme<'a>(&self, request: &'a RequestHeader) -> &'a str {
        let said = request.headers.get(X_FORWARDED_PROTO).and_then(|value| value.to_str().ok());
        // Each proxy on the way may have added its own.
        let first = said.and_then(|said| said.split(',').next()).map(str::trim);
        first.filter(|first| !first.is_empty()).unwrap_or_else(|| self.scheme())
    }

    /// Finds who presents this key to an authentication plugin.
    #[must_use]
    pub fn credential(&self, plugin: &str, key: &str) -> Option<Arc<Credential>> {
        self.snapshot.consumers.credential(plugin, key)
    }

    /// Finds a consumer by name, for `anonymous_consumer`.
    #[must_use]
    pub fn consumer_named(&self, name: &str) -> Option<Arc<Consumer>> {
        self.snapshot.consumers.named(name)
    }

    /// Makes the request the consumer's and tells the upstream so. Headers without a value are
    /// removed, so that a client cannot forge them.
    pub fn attach(
        &mut self,
        request: &mut RequestHeader,
        consumer: Arc<Consumer>,
        credential: Option<&str>,
    ) {
        set(request, X_CONSUMER_USERNAME, Some(&consumer.name));
        set(request, X_CREDENTIAL_IDENTIFIER, credential);
        set(request, X_CONSUMER_CUSTOM_ID, consumer.custom_id.as_deref());
        self.consumer = Some(consumer);
    }

    /// The node asked last.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.attempts.node()
    }

    /// The Host the upstream gets to see, if it is not the client's.
    #[must_use]
    pub fn upstream_host(&self) -> Option<HeaderValue> {
        let upstream = self.attempts.upstream.as_ref();
        match upstream.map(|upstream| (&upstream.pass_host, upstream)) {
            Some((PassHost::Node, upstream)) => {
                let authority = self.node()?.authority(upstream.tls.is_some());
                HeaderValue::from_str(&authority).ok()
            }
            Some((PassHost::Rewrite(host), _)) => Some(host.clone()),
            Some((PassHost::Pass, _)) | None => self.outgoing.host.clone(),
        }
    }
}

impl Attempts {
    /// The node asked last.
    #[must_use]
    pub fn node(&self) -> Option<&Node> {
        self.pool.as_ref()?.nodes().get(*self.tried.last()?)
    }

    /// The last node, and who remembers how it does.
    pub(crate) fn checked(&self) -> Option<(&Members, &Node)> {
        Some((self.upstream.as_ref()?.members.as_deref()?, self.node()?))
    }

    /// Tells the upstream's health checks what the last node has done.
    pub(crate) fn report(&self, report: Report) {
        if let Some((members, node)) = self.checked() {
            members.observe(node, report);
        }
    }

    /// The statuses as variables and headers show them: `502, 200`.
    #[must_use]
    pub fn statuses(&self) -> Option<String> {
        let texts: Vec<_> = self.statuses.iter().map(u16::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }

    /// Seconds as `$upstream_connect_time` shows them: `-, 0.002`.
    #[must_use]
    pub fn connect_times(&self) -> Option<String> {
        let text = |connect: &Option<Duration>| match connect {
            Some(time) => format!("{:.3}", time.as_secs_f64()),
            None => "-".to_owned(),
        };
        let texts: Vec<_> = self.connects.iter().map(text).collect();
        (!texts.is_empty()).then(|| texts.join(", "))
    }
}

const X_CONSUMER_USERNAME: &str = "X-Consumer-Username";
const X_CREDENTIAL_IDENTIFIER: &str = "X-Credential-Identifier";
const X_CONSUMER_CUSTOM_ID: &str = "X-Consumer-Custom-ID";

fn set(request: &mut RequestHeader, name: &'static str, value: Option<&str>) {
    match value.map(HeaderValue::from_str) {
        Some(Ok(value)) => {
            // Fails only when the map is full; then the forged one is gone all the same.
            request.remove_header(name);
            let _ = request.insert_header(name, value);
        }
        _ => {
            request.remove_header(name);
        }
    }
}
