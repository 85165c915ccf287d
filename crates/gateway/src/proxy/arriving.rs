//! From the request's arrival to the decision to forward it: facts, route, plugins.

use std::sync::Arc;

use gantry_routing::path;
use http::{HeaderValue, StatusCode, header};
use pingora::{Result, http::RequestHeader, protocols::l4::socket::SocketAddr, proxy::Session};
use serde_json::json;

use super::clients::{Clients, Trust};
use crate::{
    answer::Answer,
    body,
    exchange::{Client, Exchange, Facts},
    plugin::BodyLimit,
    request,
    route::{Broken, Candidate},
    tls::Handshake,
};

const X_FORWARDED_PORT: &str = "X-Forwarded-Port";
const X_FORWARDED_HOST: &str = "X-Forwarded-Host";

/// The longest body that is read to find a route: it comes before anybody is known, so it is short. A
/// longer one has no variables. APISIX has the same bound for GraphQL.
const BODY_MAX: u64 = 1 << 20;

/// Notes who asks for what, and looks the route up. Some if the request is refused at once.
pub async fn receive(
    session: &mut Session,
    exchange: &mut Exchange,
    clients: &Clients,
) -> Result<Option<Answer>> {
    note_connection(session, exchange);
    exchange.connection.proxied = clients.proxied();
    let request = session.req_header_mut();
    if let Some(status) = clients.refuse(request, exchange) {
        return Ok(Some(Answer::page(status)));
    }
    match path::normalize(request.uri.path()) {
        Ok(path) if path == request.uri.path() => {}
        Ok(path) => exchange.path = Some(path.into_owned()),
        Err(_) => return Ok(Some(Answer::page(StatusCode::BAD_REQUEST))),
    }
    if !client_is_welcome(request, exchange) {
        return Ok(Some(Answer::page(StatusCode::BAD_REQUEST)));
    }
    exchange.route = find_route(request, exchange);
    if *exchange.body_wanted.get_mut() && may_read(session) {
        if !body::read(session, exchange, BODY_MAX).await? {
            return Ok(Some(Answer::page(StatusCode::PAYLOAD_TOO_LARGE)));
        }
        exchange.route = find_route(session.req_header(), exchange);
    }
    if let Some(candidate) = &exchange.route {
        exchange.chain = Some(Arc::clone(&candidate.route.plugins.chain));
    }
    let trust = clients.trust(exchange.connection.peer.ip());
    note_forwarding(session.req_header_mut(), exchange, trust);
    exchange.forwarding_noted = true;
    Ok(None)
}

/// Whether there is a body that is short, as far as it says, and ends before the response begins.
fn may_read(session: &mut Session) -> bool {
    let declared = request::length(&session.req_header().headers);
    declared.is_none_or(|length| length <= BODY_MAX)
        && !session.is_upgrade_req()
        && !session.as_mut().is_body_empty()
}

fn note_connection(session: &Session, exchange: &mut Exchange) {
    let connection = &mut exchange.connection;
    if let Some(peer) = session.client_addr().and_then(SocketAddr::as_inet) {
        connection.peer = *peer;
        exchange.client = Client::new(*peer);
    }
    if let Some(server) = session.server_addr().and_then(SocketAddr::as_inet) {
        connection.server = *server;
    }
    if let Some(tls) = session.digest().and_then(|digest| digest.ssl_digest.as_ref()) {
        connection.tls = true;
        exchange.handshake = tls.extension.get::<Arc<Handshake>>().cloned();
    }
}

/// The rules of mutual TLS at request time: the name of the handshake must be the one asked for,
/// and paths that are not exempt need the client's certificate.
fn client_is_welcome(request: &RequestHeader, exchange: &Exchange) -> bool {
    let Some(handshake) = &exchange.handshake else { return true };
    let host = request::host(request);
    let same_name = host.eq_ignore_ascii_case(&handshake.server_name);
    if !same_name {
        let asked_for = exchange.snapshot.certificates.lookup(host);
        if asked_for.is_some_and(|certificate| certificate.clients.is_some()) {
            return false;
        }
    }
    let Some(clients) = &handshake.certificate.clients else { return true };
    let path = exchange.path(request);
    let exempt = |patterns: &Vec<fancy_regex::Regex>| {
        patterns.iter().any(|pattern| pattern.is_match(path).unwrap_or(false))
    };
    handshake.client_verified || clients.exempt.as_ref().is_some_and(exempt)
}

fn find_route(request: &RequestHeader, exchange: &Exchange) -> Option<Candidate> {
    let facts = Facts { exchange, request, response: None };
    let accepts = |candidate: &Candidate| {
        candidate.route.matcher.accepts(request.method.as_str(), exchange.client.ip(), &facts)
    };
    exchange
        .snapshot
        .routes
        .lookup(request::host(request), exchange.path(request), accepts)
        .cloned()
}

/// Overwrites what the client claims about its way here, unless it is believed. Fails only when the
/// header map is full.
fn note_forwarding(request: &mut RequestHeader, exchange: &Exchange, trust: Trust) {
    let (_, port) = request::split_port(request::authority(request));
    let port = port.unwrap_or(exchange.connection.server.port());
    let host = match request.headers.get(header::HOST) {
        Some(host) => Some(host.clone()),
        None => HeaderValue::from_str(request::authority(request)).ok(),
    };
    let scheme = HeaderValue::from_static(exchange.scheme());
    let observed = [
        (request::X_FORWARDED_PROTO, Some(scheme)),
        (X_FORWARDED_PORT, Some(HeaderValue::from(port))),
        (X_FORWARDED_HOST, host),
    ];
    for (name, value) in observed {
        if trust == Trust::Full && request.headers.contains_key(name) {
            continue;
        }
        if let Some(value) = value {
            let _ = request.insert_header(name, value);
        }
    }
    if trust != Trust::Full {
        request.remove_header(&header::FORWARDED);
    }
    if trust == Trust::None {
        request.remove_header(request::X_FORWARDED_FOR);
    }
}

/// Runs the plugins up to the access phase. Some if one of them, or the lack of a route, answers.
pub async fn decide(session: &mut Session, exchange: &mut Exchange) -> Result<Option<Answer>> {
    if !exchange.snapshot.loaded {
        return Ok(Some(Answer::page(StatusCode::SERVICE_UNAVAILABLE)));
    }
    let global = Arc::clone(&exchange.snapshot.global);
    if let Some(answer) = global.rewrite(exchange, session).await? {
        return Ok(Some(answer));
    }
    let Some(Candidate { route, .. }) = exchange.route.clone() else {
        let not_found =
            || Answer::json(StatusCode::NOT_FOUND, &json!({"error_msg": "404 Route Not Found"}));
        return Ok(Some(global.access(exchange, session).await?.unwrap_or_else(not_found)));
    };
    match route.broken {
        None => {}
        Some(Broken::Service) => return Ok(Some(Answer::page(StatusCode::NOT_FOUND))),
        Some(Broken::PluginConfig) => {
            return Ok(Some(Answer::page(StatusCode::SERVICE_UNAVAILABLE)));
        }
    }
    if let Some(answer) = route.plugins.chain.rewrite(exchange, session).await? {
        return Ok(Some(answer));
    }
    if let Some(answer) = merge_consumer(session, exchange).await? {
        return Ok(Some(answer));
    }
    if let Some(answer) = global.access(exchange, session).await? {
        return Ok(Some(answer));
    }
    let answer = match exchange.chain.clone() {
        Some(chain) => chain.access(exchange, session).await?,
        None => None,
    };
    Ok(answer.or_else(|| too_large(session.req_header(), exchange)))
}

/// Refuses a body that says it is larger than the last word about it allows. One that a plugin has
/// read was looked at then, and one that says nothing is counted on its way.
fn too_large(request: &RequestHeader, exchange: &Exchange) -> Option<Answer> {
    let BodyLimit(limit) = exchange.notes.get().filter(|_| exchange.body.is_none())?;
    let length = request::length(&request.headers)?;
    (length > *limit).then(|| Answer::page(StatusCode::PAYLOAD_TOO_LARGE))
}

/// Lets the consumer's plugins and those of its group take part from here on.
async fn merge_consumer(session: &mut Session, exchange: &mut Exchange) -> Result<Option<Answer>> {
    let (Some(consumer), Some(candidate)) = (exchange.consumer.clone(), &exchange.route) else {
        return Ok(None);
    };
    let group = match &consumer.group_id {
        None if consumer.links.is_empty() => return Ok(None),
        None => None,
        Some(id) => match exchange.snapshot.groups.get(id) {
            Some(group) => Some(Arc::clone(group)),
            None => return Ok(Some(Answer::page(StatusCode::SERVICE_UNAVAILABLE))),
        },
    };
    let merged = candidate.route.plugins.merged(&consumer, group.as_ref());
    exchange.chain = Some(merged.chain);
    merged.added.rewrite(exchange, session).await
}
