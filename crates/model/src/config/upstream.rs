//! Backends of an application, one set of targets per version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{RegistryType, null_as_default};
use crate::Id;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadBalancing {
    #[default]
    Roundrobin,
    ConsistentHash,
    Ewma,
    LeastConn,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub host: String,
    pub port: u16,
    pub weight: u16,
}

/// Seconds between two successive operations on a connection; 0 or absent is 60.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    #[serde(default, skip_serializing_if = "is_zero")]
    pub connect: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub send: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub read: u64,
}

/// Contract, schema `UpstreamServiceDiscovery`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceDiscovery {
    pub service_registry: RegistryType,
    pub service_registry_id: Id,
    pub kubernetes_service: KubernetesService,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesService {
    pub namespace: String,
    pub name: String,
    /// Name of the port; its number only helps where it has no name.
    pub port: String,
}

/// Contract, schema `Upstream`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    pub scheme: Scheme,
    #[serde(default, deserialize_with = "null_as_default")]
    pub lb_type: LoadBalancing,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_discovery: Option<ServiceDiscovery>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub targets: Vec<Target>,
    /// Tries after the first; absent is one per remaining target, 0 is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timeout>,
    /// `pass`, `node` or `rewrite`; empty is `pass`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upstream_host_mode: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upstream_host: String,
    /// Certificate of type Client shown to the backend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<Checks>,
}

/// Contract, schema `UpstreamAndVersion`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamVersion {
    pub upstream: Upstream,
    pub version: String,
    /// Deprecated spelling of `upstream.client_cert_id`, which wins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_cert_id: Option<Id>,
}

impl UpstreamVersion {
    #[must_use]
    pub fn client_cert_id(&self) -> Option<Id> {
        self.upstream.client_cert_id.or(self.client_cert_id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbeType {
    Tcp,
    Http,
    Https,
}

/// Health checks; `passive` needs `active`, or a node could never recover.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checks {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<PassiveCheck>,
}

/// `kind` says which of the three blocks is read; the others are ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ActiveCheck {
    #[serde(rename = "type")]
    pub kind: ProbeType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<ActiveProbe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<ActiveProbe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<ActiveProbe>,
}

/// Fields of all probe types; what a type does not know is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ActiveProbe {
    /// Seconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_timeout: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub concurrent_probes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe_target_port: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub http_probe_path: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub http_probe_host: String,
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub http_probe_headers: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_target_tls_certificate: Option<bool>,
    #[serde(default)]
    pub healthy: HealthRule,
    #[serde(default)]
    pub unhealthy: HealthRule,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PassiveCheck {
    #[serde(rename = "type")]
    pub kind: ProbeType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<PassiveProbe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub https: Option<PassiveProbe>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<PassiveProbe>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PassiveProbe {
    #[serde(default)]
    pub healthy: HealthRule,
    #[serde(default)]
    pub unhealthy: HealthRule,
}

/// When a node turns healthy or unhealthy; absent parts take the gateway's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRule {
    /// Seconds between probes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub targets_check_interval: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status_codes: Option<Vec<u16>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_failures: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_failures: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
