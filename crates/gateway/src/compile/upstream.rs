//! Upstreams: nodes with addresses and ports, balancer, timeouts, health checks, discovery.

use std::{sync::Arc, time::Duration};

use ahash::RandomState;
use arc_swap::ArcSwap;
use gantry_routing::resource::{self, PassHost as Pass, Scheme};
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::{Compiled, checks, ssl::cert_key};
use crate::{
    plugin::Shared,
    template::Template,
    upstream::{
        Balancing, Bounds, ClientCertificate, HashOn, Members, Node, PassHost, Pool, Source,
        Timeouts, Upstream, UpstreamTls, endpoint_nodes, follow,
    },
};

/// How long an unused connection is kept unless the configuration says.
const IDLE: Duration = Duration::from_secs(60);

/// Compiles the upstream that the resource at `owner` holds, such as `/apisix/routes/7`.
pub fn upstream(
    source: &resource::Upstream,
    owner: &str,
    shared: &Shared,
) -> Result<Compiled<Arc<Upstream>>, String> {
    let mut problems = Vec::new();
    let balancing = balancing(source, &mut problems);
    let mut nodes = nodes(source)?;
    let discovery = discovery(source, shared, &mut problems)?;
    if let Some(Source::Registry(endpoints)) = &discovery {
        nodes = endpoint_nodes(&endpoints.borrow());
    }
    let pool = source.keepalive_pool;
    let stop = CancellationToken::new();
    let value = Arc::new(Upstream {
        id: source.id.clone(),
        name: source.name.clone(),
        tls: tls(source)?,
        http2: matches!(source.scheme, Scheme::Grpc | Scheme::Grpcs),
        pass_host: pass_host(source)?,
        retries: source.retries.map(|retries| retries as usize),
        retry_timeout: (source.retry_timeout > 0.0).then(|| seconds(source.retry_timeout)),
        timeouts: source.timeout.map(timeouts).unwrap_or_default(),
        idle_timeout: pool.map_or(IDLE, |pool| seconds(pool.idle_timeout)),
        connection_group: pool.map_or(0, connection_group),
        bounds: pool.map(bounds),
        pool: ArcSwap::from_pointee(Pool::new(Vec::new(), &balancing)),
        members: members(source, owner, &balancing, shared)?,
        following: discovery.is_some().then(|| stop.clone().drop_guard()),
        balancing,
    });
    // Last, because nodes that are not listed lose their standing.
    value.fill(nodes);
    if let Some(discovery) = discovery {
        let resolver = shared.upstreams.resolver.clone();
        let following = follow(Arc::downgrade(&value), discovery, resolver);
        shared.background.spawn(async move {
            tokio::select! { () = following => {}, () = stop.cancelled() => {} }
        });
    }
    Ok(Compiled { value, problems })
}

/// Who remembers the nodes, if there is something to remember.
fn members(
    source: &resource::Upstream,
    owner: &str,
    balancing: &Balancing,
    shared: &Shared,
) -> Result<Option<Arc<Members>>, String> {
    let checks = source.checks.as_ref().map(|checks| checks::checks(checks, source)).transpose()?;
    if checks.is_none() && !matches!(balancing, Balancing::LeastBusy | Balancing::Fastest) {
        return Ok(None);
    }
    let Shared { upstreams, background, .. } = shared;
    Ok(Some(upstreams.roster.members(owner, checks, background, &upstreams.resolver)))
}

/// Where nodes come from that the configuration does not name.
fn discovery(
    source: &resource::Upstream,
    shared: &Shared,
    problems: &mut Vec<String>,
) -> Result<Option<Source>, String> {
    let (None, Some(name)) = (&source.nodes, &source.service_name) else { return Ok(None) };
    match source.discovery_type.as_deref() {
        Some("kubernetes") => {
            shared.upstreams.directory.subscribe(name).map(Source::Registry).map(Some)
        }
        Some("dns") => {
            let (name, port) = match name.rsplit_once(':') {
                Some((name, port)) => (name, port.parse().ok()),
                None => (name.as_str(), source.scheme.port()),
            };
            let port = port.ok_or_else(|| format!("`service_name`: `{name}` needs a port"))?;
            Ok(Some(Source::Name(name.to_owned(), port)))
        }
        other => {
            let kind = other.unwrap_or("none");
            problems.push(format!("discovery by `{kind}` is not supported: there are no nodes"));
            Ok(None)
        }
    }
}

/// Upstreams with the same settings share connections, because Pingora's pool knows no others.
fn connection_group(pool: resource::KeepalivePool) -> u64 {
    let settings = (pool.size, pool.requests, pool.idle_timeout.to_bits());
    RandomState::with_seeds(1, 2, 3, 4).hash_one(settings)
}

/// Without time to be idle, none is kept.
fn bounds(pool: resource::KeepalivePool) -> Bounds {
    let size = if pool.idle_timeout == 0.0 { 0 } else { pool.size };
    Bounds { size: size as usize, requests: pool.requests }
}

/// Seconds as they stand in configuration; absurd ones become the longest that make sense.
pub(super) fn seconds(seconds: f64) -> Duration {
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
        let port = port.ok_or_else(|| format!("the node `{}` has no port", node.host))?;
        let (weight, priority) = (node.weight, node.priority);
        Ok(Node { weight, priority, ..Node::new(host.to_owned(), port) })
    };
    source.nodes.iter().flatten().map(compile).collect()
}

fn balancing(source: &resource::Upstream, problems: &mut Vec<String>) -> Balancing {
    match &*source.balancer {
        "chash" => Balancing::Hash(hash_on(source)),
        "least_conn" => Balancing::LeastBusy,
        "ewma" => Balancing::Fastest,
        "roundrobin" => Balancing::RoundRobin,
        other => {
            problems.push(format!("the type `{other}` is not supported: nodes take turns"));
            Balancing::RoundRobin
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
