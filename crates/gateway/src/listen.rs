//! Sockets: accepting, TLS, handing connections to an application, and ending in order.

use std::{io, net::TcpListener, os::fd::AsRawFd, sync::Arc, time::Duration};

use pingora::{
    apps::ServerApp,
    protocols::{GetSocketDigest, SocketDigest, Stream, l4::stream::Stream as L4Stream},
    server::ShutdownWatch,
};
use tokio_util::task::TaskTracker;

use crate::{status::Gauge, tls::Doorkeeper};

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
}

/// Accepts connections until `shutdown` turns true.
pub async fn accept<A>(port: Port<A>, mut shutdown: ShutdownWatch) -> io::Result<()>
where
    A: ServerApp + Send + Sync + 'static,
{
    let Port { listener, door, app, connections, gauge } = port;
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
        let open = gauge.open();
        connections.spawn(async move {
            let _open = open;
            let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
            let mut stream = L4Stream::from(socket);
            stream.set_socket_digest(digest);
            let _ = stream.set_nodelay();
            let stream: Stream = match door {
                None => Box::new(stream),
                Some(door) => match shake_hands(&door, stream, shutdown.clone()).await {
                    Ok(stream) => stream,
                    Err(reason) => return tracing::debug!(%reason, "a TLS handshake failed"),
                },
            };
            serve(stream, app, shutdown).await;
        });
    }
}

/// Opens TLS, unless that takes too long or the gateway is asked to stop.
async fn shake_hands(
    door: &Doorkeeper,
    stream: L4Stream,
    mut shutdown: ShutdownWatch,
) -> Result<Stream, String> {
    tokio::select! {
        opened = tokio::time::timeout(HANDSHAKE, door.open(stream)) => match opened {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(reason)) => Err(reason.to_string()),
            Err(_) => Err("it took too long".to_owned()),
        },
        _ = shutdown.wait_for(|ending| *ending) => Err("the gateway is stopping".to_owned()),
    }
}

/// Serves a connection request by request.
async fn serve<A: ServerApp>(stream: Stream, app: Arc<A>, shutdown: ShutdownWatch) {
    let mut next = Some(stream);
    while let Some(stream) = next {
        next = app.process_new(stream, &shutdown).await;
    }
}
