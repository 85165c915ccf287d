//! A cluster: the gateways that share one configuration, and settings for all of their traffic.

use serde::{Deserialize, Serialize};

use super::{Plugins, null_as_default};
use crate::{Id, Timestamp};

/// `status` of a cluster that works (contract, schema `ClusterStage`).
pub const STAGE_NORMAL: i32 = 3;

/// Name of the cluster that comes with each organization.
pub const DEFAULT_NAME: &str = "default";

/// What a caller may give for a new cluster; the contract leaves the body open.
#[derive(Clone, Debug, Deserialize)]
pub struct ClusterCreate {
    /// Refused where it is used if it is empty, with the rule for names.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub region_id: Option<Id>,
}

/// Contract, schema `ClusterSettings`: a group that is sent replaces that group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSettings {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_settings: Option<ClientSettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observability_settings: Option<ObservabilitySettings>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_proxy_settings: Option<ApiProxySettings>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientSettings {
    #[serde(default)]
    pub client_real_ip: ClientRealIp,
    /// Bytes; 0 is no limit.
    #[serde(default)]
    pub maximum_request_body_size: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientRealIp {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_from: Option<ReplaceFrom>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub trusted_addresses: Vec<String>,
    #[serde(default)]
    pub recursive_search: bool,
    #[serde(default)]
    pub enabled: bool,
}

/// Where the client's address is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplaceFrom {
    pub position: Position,
    #[serde(default)]
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    Header,
    Query,
    Cookie,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservabilitySettings {
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub show_upstream_status_in_response_header: bool,
    #[serde(default)]
    pub access_log_rotate: AccessLogRotate,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    #[serde(default = "on")]
    pub enabled: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLogRotate {
    #[serde(default)]
    pub enabled: bool,
    /// Seconds between rotations; 0 takes the gateway's default of an hour.
    #[serde(default)]
    pub interval: u64,
    /// Rotated files that stay; 0 takes the gateway's default of 168.
    #[serde(default)]
    pub maximum_kept_log_entries: u64,
    #[serde(default)]
    pub enable_compression: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiProxySettings {
    #[serde(default = "on")]
    pub enable_request_buffering: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_header_customization: Option<ServerHeader>,
    /// The only option is `Delete Tail Slash`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub url_handling_options: Vec<String>,
}

impl Default for ApiProxySettings {
    fn default() -> Self {
        Self {
            enable_request_buffering: true,
            server_header_customization: None,
            url_handling_options: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHeader {
    /// Empty, as clients written in Go send it when unset, changes nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub new_server_header: String,
}

fn on() -> bool {
    true
}

impl ClusterSettings {
    /// Takes over the groups that `change` carries.
    #[must_use]
    pub fn merged(self, change: Self) -> Self {
        Self {
            client_settings: change.client_settings.or(self.client_settings),
            observability_settings: change.observability_settings.or(self.observability_settings),
            api_proxy_settings: change.api_proxy_settings.or(self.api_proxy_settings),
        }
    }
}

/// Contract, schema `Cluster`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Cluster {
    pub id: Id,
    pub name: String,
    pub org_id: Id,
    pub region_id: Id,
    pub status: i32,
    /// Host name that gateways connect to.
    pub domain: String,
    pub settings: ClusterSettings,
    /// Cluster plugins as they were written.
    pub policies: Plugins,
    /// The same again under the name the reference uses.
    pub plugins: Plugins,
    /// Newest configuration revision.
    pub config_version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Contract, schema `ClusterSummary`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClusterSummary {
    #[serde(flatten)]
    pub cluster: Cluster,
    pub org_name: String,
    pub config_payload: String,
}
