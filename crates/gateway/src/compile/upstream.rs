//! Upstreams: nodes with addresses and ports, balancer, timeouts.

use std::{cmp::Reverse, net::IpAddr, sync::Arc, time::Duration};

use gantry_routing::resource::{self, PassHost as Pass, Scheme};
use http::HeaderValue;

use super::{Compiled, ssl::cert_key};
use crate::{
    template::Template,
    upstream::{
        Balancer, ClientCertificate, HashOn, Node, PassHost, Timeouts, Upstream, UpstreamTls,
    },
};

/// How long an unused connection is kept unless the configuration says.
const IDLE: Duration = Duration::from_secs(60);

/// Compiles an upstream.
pub fn upstream(source: &resource::Upstream) -> Result<Compiled<Upstream>, String> {
    let mut problems = Vec::new();
    let nodes = nodes(source)?;
    let pool = source.keepalive_pool;
    let value = Upstream {
        id: source.id.clone(),
        name: source.name.clone(),
        balancer: balancer(source, &nodes, &mut problems),
        tls: tls(source)?,
        http2: matches!(source.scheme, Scheme::Grpc | Scheme::Grpcs),
        pass_host: pass_host(source)?,
        retries: source.retries.map_or(nodes.len().saturating_sub(1), |retries| retries as usize),
        retry_timeout: (source.retry_timeout > 0.0).then(|| seconds(source.retry_timeout)),
        timeouts: source.timeout.map(timeouts).unwrap_or_default(),
        idle_timeout: pool.map_or(IDLE, |pool| seconds(pool.idle_timeout)),
        nodes,
    };
    if source.nodes.is_none() {
        problems.push("service discovery is not supported: there are no nodes".to_owned());
    }
    if source.checks.is_some() {
        problems.push("health checks are not supported: all nodes count as healthy".to_owned());
    }
    Ok(Compiled { value, problems })
}

/// Seconds as they stand in configuration; absurd ones become the longest that make sense.
fn seconds(seconds: f64) -> Duration {
    const DAY: f64 = 86_400.0;
    Duration::from_secs_f64(seconds.clamp(0.0, DAY))
}

/// Compiles timeouts.
#[must_use]
pub fn timeouts(source: resource::Timeout) -> Timeouts {
    Timeouts {
        connect: seconds(source.connect),
        send: seconds(source.send),
        read: seconds(source.read),
    }
}

fn nodes(source: &resource::Upstream) -> Result<Vec<Node>, String> {
    let compile = |node: &resource::Node| {
        let port = node.port.or_else(|| source.scheme.port());
        let host = node.host.trim_start_matches('[').trim_end_matches(']');
        Ok(Node {
            host: host.to_owned(),
            port: port.ok_or_else(|| format!("the node `{}` has no port", node.host))?,
            ip: host.parse::<IpAddr>().ok(),
            weight: node.weight,
            priority: node.priority,
        })
    };
    let mut nodes: Vec<Node> =
        source.nodes.iter().flatten().map(compile).collect::<Result<_, String>>()?;
    nodes.sort_by_key(|node| Reverse(node.priority));
    Ok(nodes)
}

fn balancer(source: &resource::Upstream, nodes: &[Node], problems: &mut Vec<String>) -> Balancer {
    match &*source.balancer {
        "chash" => Balancer::hash(nodes, &hash_on(source)),
        "least_conn" => Balancer::least_busy(nodes),
        "roundrobin" => Balancer::round_robin(nodes),
        other => {
            problems.push(format!("the type `{other}` is not supported: nodes take turns"));
            Balancer::round_robin(nodes)
        }
    }
}

fn hash_on(source: &resource::Upstream) -> HashOn {
    let key = source.key.clone().unwrap_or_default();
    match source.hash_on {
        resource::HashOn::Vars => HashOn::Variable(key),
        resource::HashOn::Header => HashOn::Variable(format!("http_{}", key.replace('-', "_"))),
        resource::HashOn::Cookie => HashOn::Variable(format!("cookie_{key}")),
        resource::HashOn::Consumer => HashOn::Consumer,
        resource::HashOn::VarsCombinations => HashOn::Combination(Template::new(&key)),
    }
}

fn pass_host(source: &resource::Upstream) -> Result<PassHost, String> {
    Ok(match source.pass_host {
        Pass::Pass => PassHost::Pass,
        Pass::Node => PassHost::Node,
        Pass::Rewrite => {
            let host = source.upstream_host.as_deref().unwrap_or("");
            let value = HeaderValue::from_str(host);
            PassHost::Rewrite(value.map_err(|_| "`upstream_host` is no host name".to_owned())?)
        }
    })
}

fn tls(source: &resource::Upstream) -> Result<Option<UpstreamTls>, String> {
    if !source.scheme.is_tls() {
        return Ok(None);
    }
    let Some(tls) = &source.tls else {
        return Ok(Some(UpstreamTls { verify: false, client: None }));
    };
    let client = match (&tls.client_cert_id, &tls.client_cert, &tls.client_key) {
        (Some(id), _, _) => Some(ClientCertificate::Id(id.clone())),
        (None, Some(certificate), Some(key)) => {
            Some(ClientCertificate::Pair(Arc::new(cert_key(certificate, key)?)))
        }
        _ => None,
    };
    Ok(Some(UpstreamTls { verify: tls.verify, client }))
}
