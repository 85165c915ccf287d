//! The port gateways connect to: TLS, limits, and one way into both doors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use gantry_app::{App, gateway};
use gantry_model::{Error, Result};
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::identity::{self, Peer};
use crate::space::Spaces;
use crate::{grpc, json, presence};

/// Connections at once. An APISIX with 8 workers has 9 watches; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;

/// A client that cannot finish a TLS handshake in this time is not one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Silence before a request's header is complete; clients keep idle connections about a minute.
const HEADER_MAX: Duration = Duration::from_secs(75);

/// How often an idle HTTP/2 connection is asked whether it still lives.
const PING: Duration = Duration::from_secs(20);

/// HTTP/2 streams of one connection.
const STREAMS_MAX: u32 = 256;

/// What requests in flight get to finish after the server was told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// A pause after the system refused a connection (no more descriptors): it would refuse again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves gateways on `listener` until `shutdown`: the etcd JSON gateway, etcd over gRPC, and `dp`,
/// whose requests carry an `Extension<gantry_app::gateway::Identity>`.
///
/// A client shows a certificate of Gantry's own CA, or a token of `/v3/auth/authenticate`.
pub async fn serve(
    listener: std::net::TcpListener,
    app: App,
    dp: Router,
    shutdown: CancellationToken,
) -> Result<()> {
    let tls = tls(&app).await?;
    listener.set_nonblocking(true).map_err(Error::internal)?;
    let listener = TcpListener::from_std(listener).map_err(Error::internal)?;
    let spaces = Spaces::new(app.clone(), shutdown.clone());
    let presence = tokio::spawn(presence::tell(app.clone(), spaces.clone()));
    let door = Door { app, tls, router: router(&spaces, dp), shutdown };
    door.accept(&listener).await;
    presence.await.map_err(Error::internal)
}

fn router(spaces: &Spaces, dp: Router) -> Router {
    let admit = axum::middleware::from_fn_with_state(spaces.clone(), identity::admit);
    json::router(spaces.clone()).merge(grpc::router(spaces.clone())).merge(dp).layer(admit)
}

async fn tls(app: &App) -> Result<TlsAcceptor> {
    let mut config: ServerConfig = gateway::server_tls(app).await?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[derive(Clone)]
struct Door {
    app: App,
    tls: TlsAcceptor,
    router: Router,
    shutdown: CancellationToken,
}

impl Door {
    async fn accept(&self, listener: &TcpListener) {
        let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.shutdown.cancelled() => break,
                accepted = accept(listener, &seats) => accepted,
            };
            match accepted {
                Ok((stream, address, seat)) => {
                    let door = self.clone();
                    connections.spawn(async move {
                        door.welcome(stream, address).await;
                        drop(seat);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a gateway's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }

    /// Serves one connection. Who shows a certificate that is no longer good is not answered at all.
    async fn welcome(&self, stream: TcpStream, address: SocketAddr) {
        let handshake = tokio::time::timeout(HANDSHAKE_MAX, self.tls.accept(stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::debug!(%address, %error, "no TLS with a client"),
            Err(_) => return tracing::debug!(%address, "a TLS handshake took too long"),
        };
        let peer = peer(&stream);
        if let Some(certificate) = &peer.0
            && let Err(error) = gateway::identify_certificate(&self.app, certificate).await
            && error.code != gantry_model::ErrorCode::Internal
        {
            return tracing::info!(%address, %error, "a gateway's certificate was refused");
        }
        self.talk(stream, peer, address).await;
    }

    async fn talk(&self, stream: TlsStream<TcpStream>, peer: Peer, address: SocketAddr) {
        let http = http(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let router = self.router.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            request.extensions_mut().insert(ConnectInfo(address));
            router.clone().oneshot(request)
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                tokio::time::timeout(DRAIN_MAX, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, %error, "a gateway's connection broke");
        }
    }
}

async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let seat = Arc::clone(seats).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    // A revision is one small write: it must not wait for the next one.
    stream.set_nodelay(true)?;
    Ok((stream, address, seat))
}

fn peer(stream: &TlsStream<TcpStream>) -> Peer {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    Peer(certificate.map(|certificate| certificate.as_ref().into()))
}

/// HTTP as the TLS handshake agreed on: without the guess by the first bytes, which has no timeout.
fn http(is_http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(STREAMS_MAX);
    if is_http2 { builder.http2_only() } else { builder.http1_only() }
}
