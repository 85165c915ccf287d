//! What a gateway is started with.

use std::{fmt, net::SocketAddr, path::PathBuf, time::Duration};

use crate::{plugin::metrics::SeriesOptions, sync::Source, zone::CacheOptions};

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
    /// How series of requests are kept for Prometheus.
    pub series: SeriesOptions,
    /// None: the one in the data directory, made at the first start.
    pub instance_id: Option<String>,
    /// Threads that serve requests; None is one for each processor.
    pub threads: Option<usize>,
    /// File for a line of JSON about each request; `-` is standard output.
    pub access_log: Option<PathBuf>,
    /// The server name to assume for clients that name none.
    pub fallback_server_name: Option<String>,
    pub clients: ClientOptions,
    /// Servers that are asked for the names of nodes; those of the system if there are none.
    pub dns: Vec<SocketAddr>,
    /// How long requests under way may take after the shutdown was asked for.
    pub grace: Duration,
    /// Take the listening sockets of the gateway over that runs on the same data directory.
    pub upgrade: bool,
    /// Where responses may be kept; None is what APISIX is shipped with, below the data directory.
    pub cache: Option<CacheOptions>,
    /// Called once with the real addresses, when all listeners are bound.
    pub on_bound: Option<Box<dyn FnOnce(Bound) + Send>>,
}

/// How clients are met. The defaults are those of nginx.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Longest request target; beyond it the answer is 414.
    pub target_bytes: usize,
    /// All header fields together; beyond it the answer is 431.
    pub header_bytes: usize,
    /// Longest request body, unless the plugin client-control says otherwise; beyond it the answer is
    /// 413. None is no limit.
    pub body_bytes: Option<u64>,
    /// Longest silence within a request; then the answer is 408. All of a request's head has to come
    /// in this time.
    pub read_timeout: Duration,
    /// Longest wait for a client that takes nothing of its response.
    pub send_timeout: Duration,
    /// How long a connection may be idle.
    pub idle_timeout: Duration,
    /// Speak HTTP/2 without TLS to clients that begin with it.
    pub h2c: bool,
    /// Every connection begins with a header of the PROXY protocol, version 1 or 2.
    pub proxy_protocol: bool,
    /// The port clients find HTTPS at, for redirects; None is the listener's own. APISIX has it in
    /// `plugin_attr.redirect.https_port`.
    pub https_port: Option<u16>,
    /// Peers whose `X-Forwarded-*` are believed; others cannot even extend the chain of
    /// `X-Forwarded-For`. None: nobody's are believed, but the chain grows.
    pub trusted_addresses: Option<Vec<String>>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self {
            target_bytes: 8 * 1024,
            header_bytes: 32 * 1024,
            body_bytes: None,
            read_timeout: minute,
            send_timeout: minute,
            idle_timeout: minute,
            h2c: false,
            proxy_protocol: false,
            https_port: None,
            trusted_addresses: None,
        }
    }
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
