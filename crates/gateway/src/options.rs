//! What a gateway is started with.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::sync::Source;

/// Everything a gateway needs to know from outside. Port 0 takes any free port.
pub struct Options {
    /// Where clients speak HTTP.
    pub http: Option<SocketAddr>,
    /// Where clients speak HTTPS, HTTP/1.1 or HTTP/2.
    pub https: Option<SocketAddr>,
    /// Where people and monitoring ask how things are.
    pub status: Option<SocketAddr>,
    /// Holds the instance id and the last good configuration.
    pub data_dir: PathBuf,
    pub source: Source,
    /// `https://host:port` of the control plane for heartbeats; None for a plain etcd.
    pub heartbeat: Option<String>,
    /// Time between reports of metrics; None is what the control plane says.
    pub metrics_interval: Option<Duration>,
    /// None: the one in the data directory, made at the first start.
    pub instance_id: Option<String>,
    /// Threads that serve requests; None is one for each processor.
    pub threads: Option<usize>,
    /// File for a line of JSON about each request; `-` is standard output.
    pub access_log: Option<PathBuf>,
    /// The server name to assume for clients that name none.
    pub fallback_server_name: Option<String>,
    /// Called once with the real addresses, when all listeners are bound.
    pub on_bound: Option<Box<dyn FnOnce(Bound) + Send>>,
}

/// The addresses a gateway listens on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bound {
    pub http: Option<SocketAddr>,
    pub https: Option<SocketAddr>,
    pub status: Option<SocketAddr>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("http", &self.http)
            .field("https", &self.https)
            .field("status", &self.status)
            .field("data_dir", &self.data_dir)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}
