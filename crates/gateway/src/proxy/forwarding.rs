//! The way to the upstream: which node, what it gets to see, and what happens when it fails.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use gantry_routing::vars::{Var, Vars};
use http::{Uri, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::RequestHeader,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};

use crate::{
    exchange::{Attempts, Exchange, Facts},
    plugin::{BodyLimit, Codings, Copies, GrpcWebCall},
    request::{self, X_FORWARDED_FOR, X_REAL_IP},
    snapshot::NoUpstream,
    upstream::{
        Balancing, ClientCertificate, Dialer, HashOn, Lease, Node, PassHost, Report, Resolver,
        Upstream,
    },
};

/// Dead pooled connections that are passed over before a try counts.
const STALE_MAX: u8 = 8;

/// The node to try next, as Pingora wants to see it.
pub async fn peer(
    resolver: &Resolver,
    dialer: &Dialer,
    request: &RequestHeader,
    exchange: &mut Exchange,
) -> Result<Box<HttpPeer>> {
    let upstream = match &exchange.attempts.upstream {
        Some(upstream) => Arc::clone(upstream),
        None => choose_upstream(exchange)?,
    };
    let pool = exchange.attempts.pool.get_or_insert_with(|| upstream.pool.load_full());
    let pool = Arc::clone(pool);
    exchange.attempts.began.get_or_insert_with(Instant::now);
    exchange.attempts.body_bytes = 0;
    let key = hash_key(&upstream, request, exchange);
    // A node that is alone may be asked again.
    let forgiven = if pool.is_single() { exchange.attempts.tried.len() } else { 0 };
    loop {
        let tried = exchange.attempts.tried.get(forgiven..).unwrap_or_default();
        let Some((index, lease)) = pool.choose(&key, tried) else {
            // Every node was tried, or there is none with an address.
            let status = if exchange.attempts.statuses.is_empty() { 503 } else { 502 };
            return refuse(status, "no node is left to try");
        };
        exchange.attempts.tried.push(index);
        exchange.attempts.lease = lease;
        let Some(node) = pool.nodes().get(index) else { continue };
        let address = match node.ip {
            Some(ip) => Some(ip),
            None => resolver.resolve(&node.host).await,
        };
        if let Some(ip) = address {
            let address = SocketAddr::new(ip, node.port);
            exchange.attempts.address = Some(address);
            exchange.attempts.connecting = Some(Instant::now());
            let mut peer = build_peer(&upstream, node, address, request, exchange)?;
            peer.options.custom_l4 = upstream.bounds.map(|_| Arc::clone(dialer));
            return Ok(Box::new(peer));
        }
    }
}

fn choose_upstream(exchange: &mut Exchange) -> Result<Arc<Upstream>> {
    let route = exchange.route.as_ref().map(|candidate| &*candidate.route);
    let upstream = match route.map(|route| exchange.snapshot.upstream(route)) {
        Some(Ok(upstream)) => upstream,
        Some(Err(NoUpstream::Dangling)) => return refuse(502, "the upstream does not exist"),
        Some(Err(NoUpstream::None)) | None => return refuse(503, "there is no upstream node"),
    };
    exchange.attempts.upstream = Some(Arc::clone(&upstream));
    Ok(upstream)
}

/// Ends the request with a status.
pub fn refuse<T>(status: u16, reason: &'static str) -> Result<T> {
    Err(Error::explain(ErrorType::HTTPStatus(status), reason))
}

/// What a consistent hash looks at; empty if the balancer does not hash.
fn hash_key(upstream: &Upstream, request: &RequestHeader, exchange: &Exchange) -> String {
    let Balancing::Hash(on) = &upstream.balancing else { return String::new() };
    let facts = Facts { exchange, request, response: None };
    let text = |name: &str| {
        facts.var(name).and_then(|value: Var<'_>| value.text().map(|text| text.into_owned()))
    };
    let key = match on {
        HashOn::Variable(name) => text(name),
        HashOn::Consumer => text("consumer_name"),
        HashOn::Combination(template) => {
            let mut key = String::new();
            (template.append(&facts, &mut key) > 0).then_some(key)
        }
    };
    key.filter(|key| !key.is_empty()).unwrap_or_else(|| exchange.client.text().to_owned())
}

fn build_peer(
    upstream: &Upstream,
    node: &Node,
    address: SocketAddr,
    request: &RequestHeader,
    exchange: &Exchange,
) -> Result<HttpPeer> {
    let route = exchange.route.as_ref().map(|candidate| &*candidate.route);
    let name = match &upstream.tls {
        Some(_) => server_name(upstream, node, request, exchange),
        None => String::new(),
    };
    let mut peer = HttpPeer::new(address, upstream.tls.is_some(), name);
    peer.group_key = upstream.connection_group;
    let own = route.and_then(|route| route.timeouts.as_deref());
    let timeouts = own.unwrap_or(&upstream.timeouts);
    let options = &mut peer.options;
    options.connection_timeout = Some(timeouts.connect);
    options.total_connection_timeout = Some(timeouts.connect);
    options.read_timeout = Some(timeouts.read);
    options.write_timeout = Some(timeouts.send);
    options.idle_timeout = Some(upstream.idle_timeout);
    if upstream.http2 {
        options.set_http_version(2, 2);
    }
    if !route.is_some_and(|route| route.websocket) {
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    }
    if let Some(tls) = &upstream.tls {
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
        peer.client_cert_key = match &tls.client {
            None => None,
            Some(ClientCertificate::Pair(pair)) => Some(Arc::clone(pair)),
            Some(ClientCertificate::Id(id)) => {
                match exchange.snapshot.client_certificates.get(id) {
                    Some(pair) => Some(Arc::clone(pair)),
                    None => return refuse(502, "the client certificate does not exist"),
                }
            }
        };
    }
    Ok(peer)
}

/// The name for the upstream's certificate: the Host it gets to see.
fn server_name(
    upstream: &Upstream,
    node: &Node,
    request: &RequestHeader,
    exchange: &Exchange,
) -> String {
    let host = match &upstream.pass_host {
        PassHost::Node => return node.host.clone(),
        PassHost::Rewrite(host) => host.to_str().unwrap_or(""),
        PassHost::Pass => match &exchange.outgoing.host {
            Some(host) => host.to_str().unwrap_or(""),
            None => request::authority(request),
        },
    };
    request::server_name(host).to_owned()
}

/// Puts on the request what the upstream shall see. `bodiless` says that no body will follow.
pub fn dress(request: &mut RequestHeader, exchange: &mut Exchange, bodiless: bool) -> Result<()> {
    let client = exchange.client.text();
    let chain = request::forwarded_for(request, client);
    request.insert_header(X_REAL_IP, client)?;
    request.insert_header(X_FORWARDED_FOR, chain)?;
    if let Some(host) = exchange.upstream_host() {
        request.insert_header(header::HOST, host)?;
    }
    if let Some(body) = &exchange.body {
        frame(request, body.len())?;
    }
    if exchange.outgoing.whole {
        request.remove_header(&header::RANGE);
        request.remove_header(&header::IF_RANGE);
    }
    if let Some(method) = &exchange.outgoing.method {
        request.set_method(method.clone());
    }
    if let Some(target) = &exchange.outgoing.target {
        let uri = Uri::try_from(target.as_str()).map_err(|error| {
            Error::because(ErrorType::HTTPStatus(500), "the rewritten path", error)
        })?;
        request.set_uri(uri);
    }
    Codings::head(exchange, request);
    Copies::head(exchange, request, bodiless);
    GrpcWebCall::head(exchange, request)
}

/// Lets those at a piece of the request's body who copy or change it. The error is a 413 if there is
/// more than a plugin allows. It is the client's: for others Pingora waits for the upstream to answer.
pub fn body(exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) -> Result<()> {
    let offset = exchange.attempts.body_bytes;
    count(exchange, body.as_ref())?;
    Copies::body(exchange, offset, body.as_ref(), end);
    if !GrpcWebCall::body(exchange, offset, body, end) {
        return refuse(400, "the request's body is not base64").map_err(Error::into_down);
    }
    Ok(())
}

/// Declares the length of a body that is known. A request without a body needs no length.
fn frame(request: &mut RequestHeader, length: usize) -> Result<()> {
    let chunked = request.remove_header(&header::TRANSFER_ENCODING).is_some();
    if length > 0 || chunked || request.headers.contains_key(header::CONTENT_LENGTH) {
        request.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}

fn count(exchange: &mut Exchange, body: Option<&Bytes>) -> Result<()> {
    let Some(body) = body else { return Ok(()) };
    exchange.tapes.request.record(exchange.attempts.body_bytes, body);
    let bytes = &mut exchange.attempts.body_bytes;
    *bytes = bytes.saturating_add(body.len() as u64);
    match exchange.notes.get() {
        Some(BodyLimit(limit)) if *bytes > *limit && exchange.body.is_none() => {
            refuse(413, "the request's body is too large").map_err(Error::into_down)
        }
        _ => Ok(()),
    }
}

/// A pooled connection was dead when the request came: tries again, at no cost.
pub fn stale(exchange: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
    let attempts = &mut exchange.attempts;
    if attempts.stale >= STALE_MAX || is_timeout(&error) {
        return failed(exchange, error, true);
    }
    attempts.stale += 1;
    attempts.tried.pop();
    attempts.connects.pop();
    error.set_retry(true);
    error
}

/// A try has failed: decides whether there is another one.
pub fn failed(exchange: &mut Exchange, mut error: Box<Error>, repeatable: bool) -> Box<Error> {
    let attempts = &mut exchange.attempts;
    attempts.lease.take().iter().for_each(Lease::failed);
    attempts.report(if is_timeout(&error) { Report::Timeout } else { Report::TcpFailure });
    if attempts.connecting.take().is_some() {
        attempts.connects.push(None);
    }
    if attempts.statuses.len() < attempts.tried.len() {
        attempts.statuses.push(if is_timeout(&error) { 504 } else { 502 });
    }
    if repeatable && attempts.may_repeat() {
        if attempts.is_late() {
            return Error::because(
                ErrorType::HTTPStatus(502),
                "no time is left to try again",
                error,
            );
        }
        tracing::warn!(%error, node = ?attempts.address, "a node failed, another one is tried");
        error.set_retry(true);
    } else {
        error.set_retry(false);
    }
    error
}

/// Logs why a request was not proxied; loudly unless the client is to blame.
pub fn report(exchange: &Exchange, error: &Error) {
    let (status, node) = (status(error), exchange.attempts.address);
    let route = exchange.route.as_ref().map_or("", |candidate| &*candidate.route.id);
    if status >= 500 {
        tracing::warn!(%error, status, route, ?node, "a request could not be proxied");
    } else {
        tracing::debug!(%error, status, route, "a request was refused or broke off");
    }
}

impl Attempts {
    /// Whether the upstream's settings and the nodes left allow one more try.
    fn may_repeat(&self) -> bool {
        let (Some(upstream), Some(pool)) = (&self.upstream, &self.pool) else { return false };
        let tries = upstream.retries.map_or(usize::MAX, |retries| retries.saturating_add(1));
        // A node that is alone may be asked as often as somebody has said.
        let most =
            if pool.is_single() && upstream.retries.is_some() { tries } else { pool.usable() };
        self.tried.len() < tries.min(most)
    }

    /// Whether the time for repeated tries is over.
    fn is_late(&self) -> bool {
        let limit = self.upstream.as_ref().and_then(|upstream| upstream.retry_timeout);
        limit.zip(self.began).is_some_and(|(limit, began)| began.elapsed() >= limit)
    }

    /// There is a connection; a reused one took no time.
    pub(super) fn connected(&mut self, reused: bool) {
        let took = self.connecting.take().map(|since| since.elapsed());
        self.connects.push(if reused { Some(Duration::ZERO) } else { took });
    }

    /// The upstream has answered with this status.
    pub(super) fn answered(&mut self, status: u16) {
        self.statuses.push(status);
        self.lease.iter().for_each(Lease::answered);
        if let Some((members, node)) = self.checked() {
            members.observe_status(node, status);
        }
        self.header_time = self.began.map(|began| began.elapsed());
    }

    /// The request is over.
    pub(super) fn ended(&mut self) {
        self.lease = None;
        let bounds = self.upstream.as_ref().and_then(|upstream| upstream.bounds);
        if let (Some(connection), Some(bounds)) = (self.connection.take(), bounds) {
            connection.end(bounds);
        }
        self.response_time = self.began.map(|began| began.elapsed());
    }
}

/// The status an error stands for; zero if the client is gone.
pub fn status(error: &Error) -> u16 {
    match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => *status,
        (_, ErrorSource::Upstream) if is_timeout(error) => 504,
        (_, ErrorSource::Upstream) => 502,
        (
            ErrorType::WriteError | ErrorType::ReadError | ErrorType::ConnectionClosed,
            ErrorSource::Downstream,
        ) => 0,
        (_, ErrorSource::Downstream) if is_timeout(error) => 408,
        (_, ErrorSource::Downstream) => 400,
        (_, ErrorSource::Internal | ErrorSource::Unset) => 500,
    }
}

fn is_timeout(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout
    )
}
