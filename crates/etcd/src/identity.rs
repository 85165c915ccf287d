//! Who asks: found out on the connection or by token, checked again on every request and, for as
//! long as a stream runs, every few seconds.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use gantry_app::gateway::{self, Identity};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use tokio::time::{Interval, MissedTickBehavior};
use tonic::Status;

use crate::error;
use crate::json;
use crate::space::{Space, Spaces};

/// How long a stream may outlive the certificate or token it was opened with.
const RECHECK: Duration = Duration::from_secs(2);

/// What may be asked by anyone who can connect.
const OPEN_PATHS: [&str; 3] =
    ["/version", "/v3/auth/authenticate", "/etcdserverpb.Auth/Authenticate"];

/// What a connection brought along: the client's certificate in DER, if it showed one.
#[derive(Clone, Debug)]
pub struct Peer(pub Option<Arc<[u8]>>);

/// What a request was let in with.
#[derive(Clone)]
enum Credential {
    Certificate(Arc<[u8]>),
    Token(Arc<str>),
}

/// A request's right to its cluster's key space.
#[derive(Clone)]
pub struct Session {
    spaces: Spaces,
    credential: Credential,
    identity: Identity,
    address: Option<IpAddr>,
}

impl Session {
    async fn open(
        spaces: Spaces,
        peer: &Peer,
        address: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Self, Status> {
        let credential = match &peer.0 {
            Some(certificate) => Credential::Certificate(Arc::clone(certificate)),
            None => Credential::Token(token(headers).ok_or_else(error::nobody)?.into()),
        };
        let identity = identify(&spaces, &credential).await?;
        Ok(Self { spaces, credential, identity, address })
    }

    /// The key space of the cluster the client belongs to.
    pub async fn space(&self) -> Result<Arc<Space>, Status> {
        self.spaces.of(self.identity.cluster).await
    }

    /// Where the client is.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Watches over a stream opened in this session.
    #[must_use]
    pub fn guard(&self) -> Guard {
        let mut recheck = tokio::time::interval_at(tokio::time::Instant::now() + RECHECK, RECHECK);
        recheck.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Guard { session: self.clone(), recheck }
    }
}

/// Tells a stream when it has to end.
pub struct Guard {
    session: Session,
    recheck: Interval,
}

impl Guard {
    /// Ready when it is time to [`Self::check`]. Can be dropped at any time.
    pub async fn due(&mut self) {
        let shutdown = self.session.spaces.shutdown();
        tokio::select! {
            () = shutdown.cancelled() => {}
            _ = self.recheck.tick() => {}
        }
    }

    /// Refuses when the server stops or the credential is no longer good.
    pub async fn check(&self) -> Result<(), Status> {
        if self.session.spaces.shutdown().is_cancelled() {
            return Err(Status::unavailable("etcdserver: server stopped"));
        }
        match identify(&self.session.spaces, &self.session.credential).await {
            // A database that is down for a moment revokes nobody.
            Err(status) if status.code() == tonic::Code::Unavailable => Ok(()),
            other => other.map(|_| ()),
        }
    }
}

async fn identify(spaces: &Spaces, credential: &Credential) -> Result<Identity, Status> {
    let identity = match credential {
        Credential::Certificate(der) => gateway::identify_certificate(spaces.app(), der).await,
        Credential::Token(token) => gateway::identify_token(spaces.app(), token).await,
    };
    identity.map_err(error::status)
}

/// APISIX sends the bare token, others write "Bearer" before it, gRPC clients call it `token`.
fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION).or_else(|| headers.get("token"))?.to_str().ok()?;
    Some(value.strip_prefix("Bearer ").unwrap_or(value)).filter(|token| !token.is_empty())
}

/// Lets a request in with its identity, or answers in the form its client understands.
pub async fn admit(State(spaces): State<Spaces>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().cloned().unwrap_or(Peer(None));
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let address = address.map(|ConnectInfo(address)| address.ip().to_canonical());
    match Session::open(spaces, &peer, address, request.headers()).await {
        Ok(session) => {
            request.extensions_mut().insert(session.identity.clone());
            request.extensions_mut().insert(session);
            next.run(request).await
        }
        Err(_) if peer.0.is_none() && OPEN_PATHS.contains(&request.uri().path()) => {
            next.run(request).await
        }
        Err(status) if is_grpc(request.headers()) => status.into_http::<axum::body::Body>(),
        Err(status) => json::Refusal(status).into_response(),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_in_all_its_spellings() {
        for (name, value) in
            [("authorization", "abc"), ("authorization", "Bearer abc"), ("token", "abc")]
        {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(token(&headers), Some("abc"));
        }
        assert_eq!(token(&HeaderMap::new()), None);
    }
}
