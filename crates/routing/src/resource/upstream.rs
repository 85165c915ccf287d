//! Upstreams: groups of equal servers.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value, json};

use super::{schema, some_id, some_whole, whole};

/// `/apisix/upstreams/{id}`, also inside routes and services.
#[derive(Clone, Debug, Deserialize)]
pub struct Upstream {
    /// None if it stands inside another document.
    #[serde(deserialize_with = "some_id", default)]
    pub id: Option<String>,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// None if a registry knows them.
    #[serde(deserialize_with = "nodes", default)]
    pub nodes: Option<Vec<Node>>,
    /// `roundrobin`, `chash`, `ewma`, `least_conn`; others fail at request time.
    #[serde(rename = "type")]
    pub balancer: String,
    pub hash_on: HashOn,
    /// What `chash` hashes.
    pub key: Option<String>,
    pub scheme: Scheme,
    /// Attempts after the first; None is the number of nodes less one.
    #[serde(deserialize_with = "some_whole", default)]
    pub retries: Option<u32>,
    /// Seconds after which there is no further attempt; 0 is no limit.
    #[serde(default)]
    pub retry_timeout: f64,
    pub timeout: Option<Timeout>,
    pub pass_host: PassHost,
    /// For `PassHost::Rewrite`.
    pub upstream_host: Option<String>,
    pub keepalive_pool: Option<KeepalivePool>,
    pub tls: Option<UpstreamTls>,
    pub checks: Option<Checks>,
    pub service_name: Option<String>,
    pub discovery_type: Option<String>,
    #[serde(default)]
    pub discovery_args: Map<String, Value>,
}

/// One server.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Node {
    /// An IP address, version 6 in brackets, or a domain.
    pub host: String,
    /// None is the port of the scheme.
    #[serde(deserialize_with = "some_whole", default)]
    pub port: Option<u16>,
    #[serde(deserialize_with = "whole")]
    pub weight: u32,
    /// Larger goes first; the others when all of these were tried.
    #[serde(deserialize_with = "whole", default)]
    pub priority: i64,
    #[serde(default)]
    pub metadata: Map<String, Value>,
}

/// Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct Timeout {
    pub connect: f64,
    pub send: f64,
    pub read: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    Vars,
    Header,
    Cookie,
    Consumer,
    VarsCombinations,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
    Grpc,
    Grpcs,
    Tcp,
    Tls,
    Udp,
    Kafka,
}

impl Scheme {
    /// The port of a node that names none.
    #[must_use]
    pub fn port(self) -> Option<u16> {
        match self {
            Self::Http | Self::Grpc => Some(80),
            Self::Https | Self::Grpcs => Some(443),
            Self::Tcp | Self::Tls | Self::Udp | Self::Kafka => None,
        }
    }

    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs | Self::Tls)
    }
}

/// Which `Host` the upstream sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PassHost {
    /// That of the client.
    Pass,
    /// That of the node.
    Node,
    /// `upstream_host`.
    Rewrite,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct KeepalivePool {
    #[serde(deserialize_with = "whole")]
    pub size: u32,
    /// Seconds.
    pub idle_timeout: f64,
    #[serde(deserialize_with = "whole")]
    pub requests: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct UpstreamTls {
    #[serde(deserialize_with = "some_id", default)]
    pub client_cert_id: Option<String>,
    pub client_cert: Option<String>,
    pub client_key: Option<String>,
    pub verify: bool,
}

/// Health checks.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Checks {
    pub active: Active,
    pub passive: Option<Passive>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeType {
    Http,
    Https,
    Tcp,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Active {
    #[serde(rename = "type")]
    pub kind: ProbeType,
    /// Seconds.
    pub timeout: f64,
    #[serde(deserialize_with = "whole")]
    pub concurrency: i64,
    pub host: Option<String>,
    #[serde(deserialize_with = "some_whole", default)]
    pub port: Option<u16>,
    pub http_path: String,
    pub http_method: String,
    pub http_req_body: String,
    pub https_verify_certificate: bool,
    /// Each `Name: value`.
    #[serde(default)]
    pub req_headers: Vec<String>,
    /// None switches probing of healthy nodes off.
    pub healthy: Option<ActiveHealthy>,
    /// None switches probing of unhealthy nodes off.
    pub unhealthy: Option<ActiveUnhealthy>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ActiveHealthy {
    /// Seconds.
    #[serde(deserialize_with = "whole")]
    pub interval: u32,
    pub http_statuses: Vec<u16>,
    #[serde(deserialize_with = "whole")]
    pub successes: u8,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ActiveUnhealthy {
    /// Seconds.
    #[serde(deserialize_with = "whole")]
    pub interval: u32,
    pub http_statuses: Vec<u16>,
    #[serde(deserialize_with = "whole")]
    pub http_failures: u8,
    #[serde(deserialize_with = "whole")]
    pub tcp_failures: u8,
    #[serde(deserialize_with = "whole")]
    pub timeouts: u8,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Passive {
    #[serde(rename = "type")]
    pub kind: ProbeType,
    pub healthy: Option<PassiveHealthy>,
    pub unhealthy: Option<PassiveUnhealthy>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PassiveHealthy {
    pub http_statuses: Vec<u16>,
    #[serde(deserialize_with = "whole")]
    pub successes: u8,
}

/// A count of 0 is off.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PassiveUnhealthy {
    pub http_statuses: Vec<u16>,
    #[serde(deserialize_with = "whole")]
    pub http_failures: u8,
    #[serde(deserialize_with = "whole")]
    pub tcp_failures: u8,
    #[serde(deserialize_with = "whole")]
    pub timeouts: u8,
}

impl Upstream {
    /// The rules that the schema cannot say.
    pub(super) fn finished(self) -> Result<Self, String> {
        if self.pass_host == PassHost::Rewrite
            && self.upstream_host.as_deref().is_none_or(str::is_empty)
        {
            return Err("`upstream_host` is required with pass_host `rewrite`".to_owned());
        }
        if self.balancer == "chash" && self.hash_on != HashOn::Consumer {
            self.check_hash_key()?;
        }
        Ok(self)
    }

    fn check_hash_key(&self) -> Result<(), String> {
        let key = self.key.as_deref().ok_or("`key` is required with type `chash`")?;
        let name = match self.hash_on {
            HashOn::Vars => "upstream_hash_vars_schema",
            HashOn::Header | HashOn::Cookie => "upstream_hash_header_schema",
            HashOn::Consumer | HashOn::VarsCombinations => return Ok(()),
        };
        if schema(name)?.check(&mut json!(key)).is_empty() {
            Ok(())
        } else {
            Err(format!("`key`: `{key}` cannot be hashed on"))
        }
    }
}

/// Nodes are a list, or an object of weights by `host:port`.
fn nodes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Node>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Nodes {
        List(Vec<Node>),
        Weights(BTreeMap<String, serde_json::Number>),
    }
    match Nodes::deserialize(deserializer)? {
        Nodes::List(list) => Ok(Some(list)),
        Nodes::Weights(weights) => weights
            .into_iter()
            .map(|(address, weight)| node(&address, &weight).map_err(serde::de::Error::custom))
            .collect::<Result<_, _>>()
            .map(Some),
    }
}

fn node(address: &str, weight: &serde_json::Number) -> Result<Node, String> {
    // A colon inside brackets belongs to an address of version 6.
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (address, None),
    };
    let port = port.map(|port| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(format!("`{address}` is not a host with a port such as example.com:80")),
    });
    let weight = weight.as_f64().filter(|weight| *weight <= f64::from(u32::MAX));
    Ok(Node {
        host: host.to_owned(),
        port: port.transpose()?,
        weight: weight.map(|weight| weight as u32).ok_or("a weight is too large")?,
        priority: 0,
        metadata: Map::new(),
    })
}
