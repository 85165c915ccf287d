//! A compiled upstream: its nodes, how to choose among them and how to talk to them.

mod balance;
mod checks;
mod discovery;
mod dns;
mod kept;
mod members;
mod probe;
mod servers;
mod standing;

use std::{net::IpAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::HeaderValue;
use pingora::utils::tls::CertKey;
use tokio_util::sync::DropGuard;

use crate::exposition::{family, sample};
pub use balance::{Balancing, HashOn, Pool, Turns};
pub use checks::{Active, Checks, Passive, ProbeRequest, Thresholds};
pub use discovery::{Directory, Registry, Source, follow, nodes as endpoint_nodes};
pub use dns::Resolver;
pub use kept::{Bounds, Dialer, Kept, Spent, Use};
pub use members::{Members, Roster};
pub use standing::{Lease, Report, Standing};

/// What all upstreams of one gateway share.
#[derive(Default)]
pub struct Upstreams {
    pub resolver: Resolver,
    pub roster: Roster,
    pub directory: Directory,
}

impl Upstreams {
    /// Appends the state of checked nodes in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        family(out, "upstream_status", "gauge", "Whether a node is up");
        for (key, members) in self.roster.checked() {
            for (host, port, up) in members.states() {
                let (ip, port) = (host.as_str(), port.to_string());
                let labels = [("name", key.as_str()), ("ip", ip), ("port", port.as_str())];
                sample(out, "upstream_status", &labels, up.into());
            }
        }
    }
}

/// A group of servers that answer the same requests.
pub struct Upstream {
    /// None for an upstream written inside a route or service.
    pub id: Option<String>,
    pub name: Option<String>,
    pub balancing: Balancing,
    /// The nodes of the moment. A request keeps the pool it has seen first.
    pub pool: ArcSwap<Pool>,
    /// None if nothing is remembered of its nodes.
    pub members: Option<Arc<Members>>,
    pub tls: Option<UpstreamTls>,
    /// For gRPC: HTTP/2 and nothing else.
    pub http2: bool,
    pub pass_host: PassHost,
    /// How often a failed try may be repeated; None is until every node was tried.
    pub retries: Option<usize>,
    /// No new try is made after this time.
    pub retry_timeout: Option<Duration>,
    pub timeouts: Timeouts,
    /// How long an unused connection is kept.
    pub idle_timeout: Duration,
    /// Connections are shared only between upstreams of the same group.
    pub connection_group: u64,
    /// None if only Pingora's pool bounds its connections.
    pub bounds: Option<Bounds>,
    /// Ends the task that keeps `pool` as a registry says.
    pub following: Option<DropGuard>,
}

impl Upstream {
    /// Makes these the nodes; those that were there before keep their standing.
    pub fn fill(&self, mut nodes: Vec<Node>) {
        if let Some(members) = &self.members {
            members.enlist(&mut nodes);
        }
        self.pool.store(Arc::new(Pool::new(nodes, &self.balancing)));
    }
}

/// One server of an upstream.
#[derive(Clone)]
pub struct Node {
    /// As configured; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// The address, unless the host is a name.
    pub ip: Option<IpAddr>,
    pub weight: u32,
    /// Larger tiers are tried first.
    pub priority: i64,
    pub standing: Arc<Standing>,
}

/// How long the phases of a try may take. Reading and writing: between two operations.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    pub send: Duration,
    pub read: Duration,
}

impl Default for Timeouts {
    /// What nginx does if nobody says anything.
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Self { connect: minute, send: minute, read: minute }
    }
}

/// Which Host the upstream sees.
#[derive(Debug, Clone, PartialEq)]
pub enum PassHost {
    /// The client's.
    Pass,
    /// The node's.
    Node,
    /// This one.
    Rewrite(HeaderValue),
}

/// TLS towards an upstream.
pub struct UpstreamTls {
    /// False unless asked for, as in APISIX.
    pub verify: bool,
    pub client: Option<ClientCertificate>,
}

/// What the gateway presents to an upstream.
pub enum ClientCertificate {
    /// The id of an ssl resource of type client.
    Id(String),
    Pair(Arc<CertKey>),
}

impl Node {
    /// A node of weight one.
    #[must_use]
    pub fn new(host: String, port: u16) -> Self {
        let ip = host.parse().ok();
        Self { host, port, ip, weight: 1, priority: 0, standing: Arc::default() }
    }

    /// The Host header for `pass_host: node`; the port only if it is not the scheme's own.
    #[must_use]
    pub fn authority(&self, tls: bool) -> String {
        let standard = if tls { 443 } else { 80 };
        let host = match self.ip {
            Some(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => self.host.clone(),
        };
        if self.port == standard { host } else { format!("{host}:{}", self.port) }
    }
}
