//! A log collection: a place that access logs are sent to, to be bound to clusters, applications and
//! APIs.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{Id, Timestamp};

/// How logs travel; the name is that of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoggerType {
    HttpLogger,
    KafkaLogger,
}

impl LoggerType {
    /// Name of the plugin.
    #[must_use]
    pub fn plugin(self) -> &'static str {
        match self {
            Self::HttpLogger => "http-logger",
            Self::KafkaLogger => "kafka-logger",
        }
    }
}

/// Contract, schema `LogCollectionSpec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogCollectionSpec {
    /// Unique in the cluster.
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(rename = "type")]
    pub kind: LoggerType,
    /// Configuration of the plugin.
    pub spec: Map<String, Value>,
}

/// Contract, schema `LogCollection`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LogCollection {
    pub id: Id,
    pub cluster_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: LogCollectionSpec,
}
