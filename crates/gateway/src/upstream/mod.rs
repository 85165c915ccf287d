//! A compiled upstream: its nodes, how to choose among them and how to talk to them.

mod balance;
mod dns;

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderValue;
use pingora::utils::tls::CertKey;

pub use balance::{Balancer, HashOn, Lease, Turns};
pub use dns::Resolver;

/// A group of servers that answer the same requests.
pub struct Upstream {
    /// None for an upstream written inside a route or service.
    pub id: Option<String>,
    pub name: Option<String>,
    /// Nodes of larger priority first.
    pub nodes: Vec<Node>,
    pub balancer: Balancer,
    pub tls: Option<UpstreamTls>,
    /// For gRPC: HTTP/2 and nothing else.
    pub http2: bool,
    pub pass_host: PassHost,
    /// How often a failed try may be repeated.
    pub retries: usize,
    /// No new try is made after this time.
    pub retry_timeout: Option<Duration>,
    pub timeouts: Timeouts,
    /// How long an unused connection is kept; zero keeps none.
    pub idle_timeout: Duration,
}

impl Upstream {
    /// How many nodes can be asked at all.
    #[must_use]
    pub fn usable_nodes(&self) -> usize {
        let weighted = self.nodes.iter().filter(|node| node.weight > 0).count();
        if weighted == 0 { self.nodes.len() } else { weighted }
    }
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// As configured; an IPv6 address without its brackets.
    pub host: String,
    pub port: u16,
    /// The address, unless the host is a name.
    pub ip: Option<IpAddr>,
    pub weight: u32,
    /// Larger tiers are tried first.
    pub priority: i64,
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
