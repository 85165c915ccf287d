//! A thread that serves requests: its listeners, its runtime, its end.

use std::{net::TcpListener, sync::Arc, time::Duration};

use pingora::{
    apps::HttpServerApp,
    proxy::http_proxy,
    server::{ShutdownWatch, configuration::ServerConf},
};
use tokio::{runtime::Runtime, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    listen::{self, Port},
    proxy::{Clients, Proxy},
    run::{Error, runtime},
    state::State,
    tls::Doorkeeper,
    upstream::Kept,
};

/// Where a successor serves already, connections that are kept alive get this long to send another
/// request, which is answered as their last one.
const FAREWELL: Duration = Duration::from_secs(5);
/// Retries are counted by ourselves; Pingora's own limit must never be the smaller one.
const TRIES_MAX: usize = 10_000;
/// Idle connections to all upstreams together; beyond it the one used longest ago makes room. An
/// upstream's own bound can be less.
const IDLE_MAX: usize = 1024;

/// One thread that serves requests.
pub struct Worker {
    pub http: Option<TcpListener>,
    pub https: Option<TcpListener>,
    pub state: Arc<State>,
    pub door: Arc<Doorkeeper>,
    pub clients: Arc<Clients>,
    pub shutdown: CancellationToken,
    /// Cancelled before `shutdown` if a successor serves.
    pub relieved: CancellationToken,
    pub grace: Duration,
}

impl Worker {
    /// Serves until the shutdown, then until the last request is answered or the grace is over.
    pub fn run(self) -> Result<(), Error> {
        let runtime = runtime()?;
        let connections = TaskTracker::new();
        let grace = self.grace;
        let outcome = runtime.block_on(self.serve(connections.clone()));
        end(runtime, &connections, grace);
        outcome
    }

    async fn serve(self, connections: TaskTracker) -> Result<(), Error> {
        let conf = Arc::new(ServerConf {
            threads: 1,
            max_retries: TRIES_MAX,
            upstream_keepalive_pool_size: IDLE_MAX,
            ..ServerConf::default()
        });
        let gauge = Arc::clone(&self.state.status.connections);
        let (proxied, heads) = (self.clients.proxied(), Some(self.clients.heads()));
        let (clients, dialer) = (Arc::clone(&self.clients), Arc::new(Kept::default()));
        let mut app = http_proxy(&conf, Proxy { state: self.state, clients, dialer });
        app.server_options = Some(self.clients.server_options());
        let app = Arc::new(app);
        let leaving = CancellationToken::new();
        let (ending, watched) = shutdown_watch(self.shutdown);
        let doors = [(self.http, None), (self.https, Some(self.door))];
        let accepting = doors.into_iter().filter_map(|(socket, door)| {
            let port = Port {
                listener: socket?,
                door,
                app: Arc::clone(&app),
                connections: connections.clone(),
                gauge: Arc::clone(&gauge),
                proxied,
                heads,
                leaving: leaving.clone(),
            };
            Some(listen::accept(port, watched.clone()))
        });
        let outcome = futures::future::try_join_all(accepting).await;
        ending.abort();
        if self.relieved.is_cancelled() {
            connections.close();
            let _ = tokio::time::timeout(FAREWELL, connections.wait()).await;
        }
        leaving.cancel();
        app.http_cleanup().await;
        outcome?;
        Ok(())
    }
}

/// Pingora's form of a shutdown signal.
pub fn shutdown_watch(shutdown: CancellationToken) -> (tokio::task::JoinHandle<()>, ShutdownWatch) {
    let (sender, receiver) = watch::channel(false);
    let task = tokio::spawn(async move {
        shutdown.cancelled().await;
        sender.send_replace(true);
        sender.closed().await;
    });
    (task, receiver)
}

/// Lets connections come to their end, for a while.
pub fn end(runtime: Runtime, connections: &TaskTracker, grace: Duration) {
    connections.close();
    let waited = runtime.block_on(async { tokio::time::timeout(grace, connections.wait()).await });
    if waited.is_err() {
        tracing::warn!("connections are cut that did not end in time");
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
}
