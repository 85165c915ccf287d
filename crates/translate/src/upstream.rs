//! One version of an application's backends: one upstream.

use std::net::Ipv6Addr;

use gantry_model::Id;
use gantry_model::config::UpstreamVersion;
use gantry_model::config::upstream::{LoadBalancing, Scheme, Target, Timeout, Upstream};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::document::{Directory, Document};
use crate::service_registry::service_name;
use crate::{Keys, Surroundings, health};

/// Id of the upstream of one version: versions are free text, so the id holds their hash.
#[must_use]
pub fn upstream_id(app: Id, version: &str) -> String {
    let hash = hex::encode(Sha256::digest(version));
    format!("{app}.{}", hash.get(..12).unwrap_or(&hash))
}

/// Adds the upstream of one version of the application `app` called `name`.
pub fn store(keys: &mut Keys, app: Id, name: &str, entry: &UpstreamVersion, around: &Surroundings) {
    let UpstreamVersion { upstream, version, client_cert_id: _ } = entry;
    let id = upstream_id(app, version);
    let mut document = Document::with_id(&id);
    document.put("name", format!("{name}.{version}"));
    document.put("labels", json!({ "cp.app": app.to_string() }));
    put_balancing(&mut document, upstream);
    document.put("scheme", scheme(upstream.scheme));
    put_nodes(&mut document, upstream, around);
    document.put_some("retries", upstream.retries);
    document.put_some("timeout", upstream.timeout.map(timeout));
    match upstream.upstream_host_mode.as_str() {
        "rewrite" => {
            document.put("pass_host", "rewrite");
            document.put("upstream_host", upstream.upstream_host.as_str());
        }
        "node" => document.put("pass_host", "node"),
        _ => document.put("pass_host", "pass"),
    }
    if upstream.scheme == Scheme::Https
        && let Some(certificate) = entry.client_cert_id()
    {
        document.put("tls", json!({ "client_cert_id": certificate }));
    }
    document.put_map("checks", upstream.checks.as_ref().map_or_else(Map::new, health::checks));
    document.store(keys, Directory::Upstreams, &id);
}

fn scheme(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    }
}

/// The targets, or where to look for them. In a registry that is switched off nothing is found:
/// without nodes, every gateway answers 503.
fn put_nodes(document: &mut Document, upstream: &Upstream, around: &Surroundings) {
    match &upstream.service_discovery {
        None => {
            document.put("nodes", upstream.targets.iter().map(node).collect::<Vec<Value>>());
        }
        Some(discovery)
            if around.service_registries.get(&discovery.service_registry_id) == Some(&true) =>
        {
            document.put("discovery_type", "kubernetes");
            document.put("service_name", service_name(discovery));
        }
        Some(_) => document.put("nodes", json!([])),
    }
}

fn node(target: &Target) -> Value {
    let Target { host, port, weight } = target;
    // APISIX wants the brackets that people leave out.
    let host = if host.parse::<Ipv6Addr>().is_ok() { format!("[{host}]") } else { host.clone() };
    json!({ "host": host, "port": port, "weight": weight })
}

/// Seconds APISIX waits where nothing is said; it wants all three parts or none.
const TIMEOUT_DEFAULT: u64 = 60;

fn timeout(timeout: Timeout) -> Value {
    let Timeout { connect, send, read } = timeout;
    let part = |seconds| if seconds == 0 { TIMEOUT_DEFAULT } else { seconds };
    json!({ "connect": part(connect), "send": part(send), "read": part(read) })
}

fn put_balancing(document: &mut Document, upstream: &Upstream) {
    let kind = match upstream.lb_type {
        LoadBalancing::Roundrobin => "roundrobin",
        LoadBalancing::ConsistentHash => "chash",
        LoadBalancing::Ewma => "ewma",
        LoadBalancing::LeastConn => "least_conn",
    };
    document.put("type", kind);
    if upstream.lb_type == LoadBalancing::ConsistentHash
        && let Some(HashOn { source, key }) = hash_on(&upstream.hash_key)
    {
        document.put("hash_on", source);
        document.put_text("key", &key);
    }
}

/// What the consistent hash reads.
#[derive(Debug, PartialEq)]
pub struct HashOn {
    pub source: &'static str,
    /// Empty where the source says it all.
    pub key: String,
}

/// Variables that APISIX hashes on, besides `arg_…`.
const HASH_VARIABLES: &[&str] = &[
    "uri",
    "server_name",
    "server_addr",
    "request_uri",
    "remote_port",
    "remote_addr",
    "query_string",
    "host",
    "hostname",
];

/// Reads a hash key (facts/apisix/translation.md §1.1); `None` if no gateway could hash on it.
pub fn hash_on(text: &str) -> Option<HashOn> {
    let on = |source, key: &str| Some(HashOn { source, key: key.to_owned() });
    if text.matches('$').count() > 1 {
        return on("vars_combinations", text);
    }
    let name = text.strip_prefix('$').unwrap_or(text);
    let plain = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    if name.is_empty() {
        return if text.is_empty() { on("vars", "remote_addr") } else { None };
    }
    if name == "consumer_name" {
        return on("consumer", "");
    }
    if HASH_VARIABLES.contains(&name) || name.strip_prefix("arg_").is_some_and(plain) {
        return on("vars", name);
    }
    if let Some(header) = name.strip_prefix("http_").filter(|header| plain(header)) {
        return on("header", &header.replace('_', "-"));
    }
    name.strip_prefix("cookie_")
        .filter(|cookie| plain(cookie))
        .and_then(|cookie| on("cookie", cookie))
}
