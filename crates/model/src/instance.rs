//! Gateway instances, as they report themselves and as they are listed.

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A resource that a gateway could not use, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Key of the resource, such as `/apisix/routes/2001`.
    pub key: String,
    pub reason: String,
    /// Revision that brought the resource.
    #[serde(default)]
    pub revision: i64,
}

/// What an instance says about itself (contract, schema `InstanceHeartbeat`); `digest` and
/// `problems` are Gantry's additions, absent from other gateways.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    pub id: String,
    pub hostname: String,
    pub ip: String,
    #[serde(default)]
    pub domain: String,
    /// Requests handled since the last report.
    #[serde(default)]
    pub api_calls: i64,
    #[serde(default)]
    pub version: String,
    #[serde(default)]
    pub etcd_reachable: bool,
    /// Revision in use.
    #[serde(default)]
    pub config_version: i64,
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Digest of the key space in use at `config_version` (`gantry_routing::digest`).
    #[serde(default)]
    pub digest: String,
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// Orders for the instance (contract, schema `HeartbeatResult`).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HeartbeatResult {
    pub instance_status: String,
    pub config_version: i64,
    /// Seconds until the next report is due.
    pub heartbeat_interval: u32,
    pub metrics: MetricsOrder,
    /// Seconds between reports of metrics.
    pub telemetry_collect_interval: u32,
    /// Bytes of Prometheus text that one report of metrics may hold.
    pub max_metrics_size: usize,
}

/// Whether the instance is to report metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetricsOrder {
    pub enabled: bool,
}

/// Contract, schema `GatewayInstanceStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceStatus {
    Healthy,
    #[serde(rename = "Only Heartbeats")]
    OnlyHeartbeats,
    #[serde(rename = "Lost Connection")]
    LostConnection,
    Offline,
}

/// Seconds of silence after which an instance counts as lost, as offline, and is forgotten
/// (facts, §10).
pub const LOST_AFTER_S: i64 = 30;
pub const OFFLINE_AFTER_S: i64 = 2 * 3600;
pub const PURGE_AFTER_S: i64 = 7 * 24 * 3600;

impl InstanceStatus {
    /// Status of an instance silent for `silence_s` seconds.
    #[must_use]
    pub fn of(silence_s: i64, etcd_reachable: bool) -> Self {
        match silence_s {
            s if s > OFFLINE_AFTER_S => Self::Offline,
            s if s > LOST_AFTER_S => Self::LostConnection,
            _ if etcd_reachable => Self::Healthy,
            _ => Self::OnlyHeartbeats,
        }
    }
}

/// Contract, schema `GatewayInstance`, with Gantry's additions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    #[serde(flatten)]
    pub report: Heartbeat,
    pub last_seen_time: Timestamp,
    pub register_time: Timestamp,
    pub status: InstanceStatus,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_follows_silence() {
        assert_eq!(InstanceStatus::of(0, true), InstanceStatus::Healthy);
        assert_eq!(InstanceStatus::of(30, false), InstanceStatus::OnlyHeartbeats);
        assert_eq!(InstanceStatus::of(31, true), InstanceStatus::LostConnection);
        assert_eq!(InstanceStatus::of(7201, true), InstanceStatus::Offline);
    }
}
