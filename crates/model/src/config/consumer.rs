//! A consumer: who calls APIs, by which credentials, under which plugins of their own.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Plugins, null_as_default};
use crate::{Id, Timestamp};

/// Contract, schema `ConsumerSpec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConsumerSpec {
    /// Unique in the cluster and fixed for life (facts, §18).
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// Credential fields by auth plugin: `key-auth`, `basic-auth`, `hmac-auth`, `jwt-auth`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub credentials: Map<String, Value>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub plugins: Plugins,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Vec<String>,
}

/// Contract, schema `Consumer`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consumer {
    pub id: Id,
    pub cluster_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: ConsumerSpec,
}

/// Contract, schema `JWTRequest`.
#[derive(Clone, Debug, Deserialize)]
pub struct JwtRequest {
    /// Lifetime in seconds.
    #[serde(default = "a_day")]
    pub ttl: i64,
    /// Claims beside those that say whose the token is and until when.
    #[serde(default, deserialize_with = "null_as_default")]
    pub custom_payload: Map<String, Value>,
}

fn a_day() -> i64 {
    86_400
}
