//! Sockets: accepting, TLS, handing connections to an application, and ending in order.

use std::{io, net::TcpListener, os::fd::AsRawFd, sync::Arc, time::Duration};

use pingora::{
    apps::ServerApp,
    protocols::{ALPN, GetSocketDigest, SocketDigest, Stream, l4::socket::SocketAddr},
    server::ShutdownWatch,
};
use tokio::net::TcpStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    gathered,
    head::{Head, Limits},
    proxy_protocol,
    status::Gauge,
    tls::{Doorkeeper, Refused},
};

/// A client that does not finish its handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const BREATH: Duration = Duration::from_millis(50);

/// One listening socket and what its connections are for.
pub struct Port<A> {
    pub listener: TcpListener,
    /// None: no TLS.
    pub door: Option<Arc<Doorkeeper>>,
    pub app: Arc<A>,
    /// Where connections become tasks.
    pub connections: TaskTracker,
    pub gauge: Arc<Gauge>,
    /// Whether every connection begins with a header of the PROXY protocol.
    pub proxied: bool,
    /// What is asked of the heads of requests; None watches nothing.
    pub heads: Option<Limits>,
    /// When handshakes are no longer waited for.
    pub leaving: CancellationToken,
}

/// Accepts connections until `shutdown` turns true.
pub async fn accept<A>(port: Port<A>, mut shutdown: ShutdownWatch) -> io::Result<()>
where
    A: ServerApp + Send + Sync + 'static,
{
    let Port { listener, door, app, connections, gauge, proxied, heads, leaving } = port;
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shutdown.wait_for(|ending| *ending) => return Ok(()),
        };
        let (socket, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (door, app, shutdown) = (door.clone(), Arc::clone(&app), shutdown.clone());
        let leaving = leaving.clone();
        let open = gauge.open();
        connections.spawn(async move {
            let _open = open;
            let head = Head::new(heads);
            let opening = open_stream(socket, door.as_deref(), proxied, &head);
            let opened = tokio::select! {
                opened = tokio::time::timeout(HANDSHAKE, opening) => opened,
                () = leaving.cancelled() => return,
            };
            match opened {
                Ok(Ok(stream)) => {
                    let watched = heads.is_some() && stream.selected_alpn_proto() != Some(ALPN::H2);
                    let serving = serve(stream, app, shutdown);
                    if watched { head.watching(serving).await } else { serving.await }
                }
                Ok(Err(reason)) => tracing::debug!(%reason, "a connection was not opened"),
                Err(_) => tracing::debug!("a client took too long to open its connection"),
            }
        });
    }
}

/// Hears who the client is, and opens TLS.
async fn open_stream(
    socket: TcpStream,
    door: Option<&Doorkeeper>,
    proxied: bool,
    head: &Arc<Head>,
) -> Result<Stream, Refused> {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    let mut stream = gathered::stream(socket, Arc::clone(head));
    if proxied && let Some(way) = proxy_protocol::read(&mut stream).await? {
        // Nobody else can have set them yet.
        let _ = digest.peer_addr.set(Some(SocketAddr::Inet(way.client)));
        let _ = digest.local_addr.set(Some(SocketAddr::Inet(way.server)));
    }
    stream.set_socket_digest(digest);
    let _ = stream.set_nodelay();
    Ok(match door {
        None => Box::new(stream),
        Some(door) => Box::new(door.open(stream).await?),
    })
}

/// Serves a connection request by request.
async fn serve<A: ServerApp>(stream: Stream, app: Arc<A>, shutdown: ShutdownWatch) {
    let mut next = Some(stream);
    while let Some(stream) = next {
        next = app.process_new(stream, &shutdown).await;
    }
}
