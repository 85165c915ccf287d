//! Sockets: accepting, TLS, handing connections to an application, and ending in order.

use std::{io, net::TcpListener, os::fd::AsRawFd, sync::Arc, time::Duration};

use pingora::{
    apps::ServerApp,
    protocols::{GetSocketDigest, SocketDigest, Stream, l4::stream::Stream as L4Stream},
    server::ShutdownWatch,
};
use tokio_util::task::TaskTracker;

use crate::tls::Doorkeeper;

/// A client that does not finish its handshake in this time is let go.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, which mostly means that file descriptors ran out.
const BREATH: Duration = Duration::from_millis(50);

/// Accepts connections until `shutdown` turns true. Each is a task of `connections`.
pub async fn accept<A>(
    listener: TcpListener,
    door: Option<Arc<Doorkeeper>>,
    app: Arc<A>,
    mut shutdown: ShutdownWatch,
    connections: TaskTracker,
) -> io::Result<()>
where
    A: ServerApp + Send + Sync + 'static,
{
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
        connections.spawn(async move {
            let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
            let mut stream = L4Stream::from(socket);
            stream.set_socket_digest(digest);
            let _ = stream.set_nodelay();
            let stream: Stream = match door {
                None => Box::new(stream),
                Some(door) => match tokio::time::timeout(HANDSHAKE, door.open(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(reason)) => return tracing::debug!(%reason, "a TLS handshake failed"),
                    Err(_) => return tracing::debug!("a TLS handshake took too long"),
                },
            };
            serve(stream, app, shutdown).await;
        });
    }
}

/// Serves a connection request by request.
async fn serve<A: ServerApp>(stream: Stream, app: Arc<A>, shutdown: ShutdownWatch) {
    let mut next = Some(stream);
    while let Some(stream) = next {
        next = app.process_new(stream, &shutdown).await;
    }
}
