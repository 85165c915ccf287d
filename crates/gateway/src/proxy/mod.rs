//! The plot of a request: Pingora's phases in order, each a few lines; the work is elsewhere.

mod answering;
mod arriving;
mod clients;
mod forwarding;

use std::{os::fd::RawFd, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::{
    Error, ErrorSource, ErrorType, Result,
    http::{RequestHeader, ResponseHeader},
    modules::http::HttpModules,
    protocols::Digest,
    proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session},
    upstreams::peer::{HttpPeer, Peer},
};

pub use clients::Clients;

use crate::{
    answer::Answer,
    body,
    exchange::{Exchange, Source},
    head,
    plugin::GrpcWebCall,
    state::State,
    upstream::{Dialer, Spent, Use},
};

/// A connection from the pool that nothing was sent on.
const SPENT: ErrorType = ErrorType::Custom("SpentConnection");

/// The proxy of one gateway.
pub struct Proxy {
    pub state: Arc<State>,
    pub clients: Arc<Clients>,
    /// What makes connections for upstreams that have bounds for them.
    pub dialer: Dialer,
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    /// From here on the request sees one snapshot.
    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.state.snapshot())
    }

    /// Pingora's compression is not used: plugins compress.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    /// Finds the route and runs the plugins; true if the request was answered here.
    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        head::complete();
        self.clients.set_pace(session);
        let answer = arriving::receive(session, exchange, &self.clients).await?;
        let answer = match answer {
            Some(answer) => Some(answer),
            None => arriving::decide(session, exchange).await?,
        };
        match answer {
            None => {
                body::hold(session, exchange);
                Ok(false)
            }
            Some(answer) => answering::send(session, exchange, answer).await.map(|()| true),
        }
    }

    /// Chooses a node, again for every try.
    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let resolver = &self.state.shared.upstreams.resolver;
        forwarding::peer(resolver, &self.dialer, session.req_header(), exchange).await
    }

    /// There is a connection, a new one or one from the pool.
    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _fd: RawFd,
        digest: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        exchange.attempts.connected(reused);
        let Some(digest) = digest else { return Ok(()) };
        match Use::begin(digest, || peer.reuse_hash()) {
            Ok(connection) => exchange.attempts.connection = connection,
            Err(Spent) => {
                // Whoever reads it learns meanwhile that it is closed.
                tokio::task::yield_now().await;
                return Err(Error::explain(SPENT, "the connection was not to be kept"));
            }
        }
        Ok(())
    }

    /// Makes the request the upstream's.
    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        forwarding::dress(request, exchange, session.is_body_empty())
    }

    /// A piece of the request's body goes to the upstream.
    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        forwarding::body(exchange, body, end)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        forwarding::failed(exchange, error, true)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        let method = exchange.outgoing.method.as_ref().unwrap_or(&session.req_header().method);
        let repeatable = method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && answering::answered(session).is_none();
        // It is not the node that failed if the client left or was refused.
        if *error.esource() == ErrorSource::Downstream
            || matches!(error.etype(), ErrorType::HTTPStatus(_))
        {
            return error;
        }
        if (repeatable && reused) || *error.etype() == SPENT {
            return forwarding::stale(exchange, error);
        }
        forwarding::failed(exchange, error, repeatable)
    }

    /// The upstream has answered.
    async fn upstream_response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if !response.status.is_informational() || response.status == StatusCode::SWITCHING_PROTOCOLS
        {
            exchange.attempts.answered(response.status.as_u16());
            exchange.response.source = Source::Upstream;
        }
        Ok(())
    }

    /// The response's head goes to the client.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return Ok(());
        }
        if answering::fill(session, response, exchange).await? {
            return Ok(());
        }
        answering::dress(session.req_header(), response, exchange)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<std::time::Duration>> {
        if !exchange.response.is_whole {
            answering::body(exchange, body, end);
        }
        Ok(None)
    }

    /// Some makes trailers a part of the body.
    async fn response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut HeaderMap,
        exchange: &mut Exchange,
    ) -> Result<Option<Bytes>> {
        Ok(GrpcWebCall::trailers(exchange, trailers))
    }

    /// Nothing could be proxied: answers for the upstream.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        body::release(session, exchange);
        let status = forwarding::status(error);
        if status > 0 && answering::answered(session).is_none() {
            session.set_keepalive(None);
            let code = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
            let asked = !exchange.attempts.statuses.is_empty();
            exchange.response.source = if asked { Source::Proxy } else { Source::Gateway };
            if let Err(error) = answering::send(session, exchange, Answer::page(code)).await {
                tracing::debug!(%error, "the client did not take the answer");
            }
        }
        FailToProxy { error_code: status, can_reuse_downstream: false }
    }

    /// The request is over.
    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        body::release(session, exchange);
        exchange.attempts.ended();
        exchange.response.body_bytes = session.body_bytes_sent();
        exchange.response.status =
            answering::answered(session).map_or(0, |head| head.status.as_u16());
        if let Some(error) = error {
            forwarding::report(exchange, error);
        }
        self.state.status.count_request();
        answering::log(session, exchange, self.state.access_log.as_ref());
        head::awaited();
    }

    /// Logged in `logging`, with less noise.
    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    /// Logged in `forwarding::failed`, which knows the node.
    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _exchange: &Exchange,
        _error: &Error,
        _context: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
