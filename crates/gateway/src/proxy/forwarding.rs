//! The way to the upstream: which node, what it gets to see, and what happens when it fails.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use gantry_routing::vars::{Var, Vars};
use http::{HeaderValue, Uri, header};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::RequestHeader,
    upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy},
};

use crate::{
    exchange::{Attempts, Exchange, Facts},
    request,
    snapshot::NoUpstream,
    template,
    upstream::{ClientCertificate, HashOn, Node, PassHost, Resolver, Upstream},
};

/// Dead pooled connections that are passed over before a try counts.
const STALE_MAX: u8 = 8;

/// The node to try next, as Pingora wants to see it.
pub async fn peer(
    resolver: &Resolver,
    request: &RequestHeader,
    exchange: &mut Exchange,
) -> Result<Box<HttpPeer>> {
    let upstream = match &exchange.attempts.upstream {
        Some(upstream) => Arc::clone(upstream),
        None => choose_upstream(exchange)?,
    };
    exchange.attempts.began.get_or_insert_with(Instant::now);
    let key = hash_key(&upstream, request, exchange);
    loop {
        let Some((index, lease)) = upstream.balancer.choose(&key, &exchange.attempts.tried) else {
            // Every node was tried, or none has an address.
            return Err(Error::explain(ErrorType::HTTPStatus(503), "no node is left to try"));
        };
        exchange.attempts.tried.push(index);
        exchange.attempts.lease = lease;
        let Some(node) = upstream.nodes.get(index) else { continue };
        let address = match node.ip {
            Some(ip) => Some(ip),
            None => resolver.resolve(&node.host).await,
        };
        if let Some(ip) = address {
            let address = SocketAddr::new(ip, node.port);
            exchange.attempts.address = Some(address);
            return build_peer(&upstream, node, address, request, exchange).map(Box::new);
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

fn refuse<T>(status: u16, reason: &'static str) -> Result<T> {
    Err(Error::explain(ErrorType::HTTPStatus(status), reason))
}

/// What a consistent hash looks at; empty if the balancer does not hash.
fn hash_key(upstream: &Upstream, request: &RequestHeader, exchange: &Exchange) -> String {
    let Some(on) = upstream.balancer.hash_on() else { return String::new() };
    let facts = Facts { exchange, request, response: None };
    let text = |name: &str| {
        facts.var(name).and_then(|value: Var<'_>| value.text().map(|text| text.into_owned()))
    };
    let key = match on {
        HashOn::Variable(name) => text(name),
        HashOn::Consumer => text("consumer_name"),
        HashOn::Combination(template) => template::resolve_some(template, &facts),
    };
    key.filter(|key| !key.is_empty()).unwrap_or_else(|| exchange.client.ip().to_string())
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
    let timeouts = route.and_then(|route| route.timeouts).unwrap_or(upstream.timeouts);
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
    request::split_port(host).0.to_owned()
}

/// Puts on the request what the upstream shall see.
pub fn dress(request: &mut RequestHeader, exchange: &Exchange) -> Result<()> {
    let client = exchange.client.ip().to_canonical();
    let chain = request::forwarded_for(request, client);
    request.insert_header("X-Real-IP", client.to_string())?;
    request.insert_header("X-Forwarded-For", chain)?;
    let upstream = exchange.attempts.upstream.as_ref();
    let node_host = |upstream: &Upstream| {
        let authority = exchange.node()?.authority(upstream.tls.is_some());
        HeaderValue::from_str(&authority).ok()
    };
    let host = match upstream.map(|upstream| (&upstream.pass_host, upstream)) {
        Some((PassHost::Node, upstream)) => node_host(upstream),
        Some((PassHost::Rewrite(host), _)) => Some(host.clone()),
        Some((PassHost::Pass, _)) | None => exchange.outgoing.host.clone(),
    };
    if let Some(host) = host {
        request.insert_header(header::HOST, host)?;
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
    Ok(())
}

/// A pooled connection was dead when the request came: tries the same node again, at no cost.
pub fn stale(exchange: &mut Exchange, mut error: Box<Error>) -> Box<Error> {
    let attempts = &mut exchange.attempts;
    if attempts.stale >= STALE_MAX || is_timeout(&error) {
        return failed(exchange, error, true);
    }
    attempts.stale += 1;
    attempts.tried.pop();
    error.set_retry(true);
    error
}

/// A try has failed: decides whether there is another one.
pub fn failed(exchange: &mut Exchange, mut error: Box<Error>, repeatable: bool) -> Box<Error> {
    let attempts = &mut exchange.attempts;
    attempts.lease = None;
    if attempts.statuses.len() < attempts.tried.len() {
        attempts.statuses.push(if is_timeout(&error) { 504 } else { 502 });
    }
    error.set_retry(repeatable && attempts.may_repeat());
    error
}

impl Attempts {
    /// Whether the upstream's settings and the nodes left allow one more try.
    fn may_repeat(&self) -> bool {
        let Some(upstream) = &self.upstream else { return false };
        let in_time = match (upstream.retry_timeout, self.began) {
            (Some(limit), Some(began)) => began.elapsed() < limit,
            _ => true,
        };
        in_time
            && self.tried.len() <= upstream.retries
            && self.tried.len() < upstream.usable_nodes()
    }

    /// The upstream has answered with this status.
    pub(super) fn answered(&mut self, status: u16) {
        self.statuses.push(status);
        self.header_time = self.began.map(|began| began.elapsed());
    }

    /// The request is over.
    pub(super) fn ended(&mut self) {
        self.lease = None;
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
