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
    /// Requests handled since this run started; Gantry's addition. Where it is given, `api_calls` is
    /// not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_calls_total: Option<i64>,
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
    /// What the instance uses is not what it should be: read everything again (Gantry's addition).
    #[serde(default)]
    pub resync: bool,
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

impl InstanceStatus {
    /// Whether it speaks.
    #[must_use]
    pub fn is_online(self) -> bool {
        matches!(self, Self::Healthy | Self::OnlyHeartbeats)
    }
}

/// How an instance is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// By its own reports.
    Report,
    /// By what a stock APISIX without our agent writes about itself over etcd.
    ServerInfo,
    /// By an open watch over etcd, and nothing else.
    Connection,
}

impl Source {
    /// The word that is stored and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::ServerInfo => "server_info",
            Self::Connection => "connection",
        }
    }

    /// The source of that name; what is unknown counts as the weakest.
    #[must_use]
    pub fn named(name: &str) -> Self {
        let all = [Self::Report, Self::ServerInfo];
        all.into_iter().find(|source| source.name() == name).unwrap_or(Self::Connection)
    }
}

/// How far an instance is behind its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    pub revisions: i64,
    /// Seconds since the first revision was committed that it lacks.
    pub seconds: i64,
}

/// Contract, schema `GatewayInstance`, with Gantry's additions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Instance {
    #[serde(flatten)]
    pub report: Heartbeat,
    pub last_seen_time: Timestamp,
    pub register_time: Timestamp,
    pub status: InstanceStatus,
    pub source: Source,
    /// New at every start of the instance.
    pub run_id: String,
    pub run_start_time: Timestamp,
    /// Seconds of its run, up to its last report.
    pub uptime: i64,
    /// Absent while it uses the cluster's newest revision, or does not say which one it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
    /// What it uses is not what its revision says; it is told to read everything again.
    pub differs: bool,
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
