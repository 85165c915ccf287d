//! A service registry: where backends are looked up by name.

use serde::{Deserialize, Deserializer, Serialize};

use super::null_as_default;
use super::upstream::Scheme;
use crate::{Id, Timestamp};

/// Kind of registry. Read also as the integer 1, which the Go SDK sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RegistryType {
    Kubernetes,
}

impl<'de> Deserialize<'de> for RegistryType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Spelling {
            Number(u64),
            Text(String),
        }
        match Spelling::deserialize(deserializer)? {
            Spelling::Number(1) => Ok(Self::Kubernetes),
            Spelling::Text(text) if text == "kubernetes" => Ok(Self::Kubernetes),
            _ => Err(serde::de::Error::custom("a service registry is of the type kubernetes")),
        }
    }
}

/// Contract, schema `ServiceRegistrySpec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRegistrySpec {
    /// Unique in the cluster.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: RegistryType,
    /// While it is off, services that are looked up in it answer 503.
    #[serde(default, deserialize_with = "null_as_default")]
    pub enabled: bool,
    pub kubernetes: Kubernetes,
}

/// Contract, schema `KubernetesServiceRegistry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kubernetes {
    pub api_server: ApiServer,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace_selector: Option<NamespaceSelector>,
    /// All of them must fit.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub endpoints_label_selectors: Vec<LabelSelector>,
    /// Path on the gateway; either this or the token itself is there.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub service_account_token_file: String,
    /// The token itself; secret.
    #[serde(
        default,
        skip_serializing_if = "String::is_empty",
        deserialize_with = "null_as_default"
    )]
    pub service_account_token_value: String,
}

/// What is absent is read by the gateway in the environment of its pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiServer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// Which namespaces are looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceSelector {
    /// `equal`, `not_equal`, `match` or `not_match`.
    #[serde(default)]
    pub operator: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub patterns: Vec<String>,
}

/// A condition on labels of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSelector {
    #[serde(default)]
    pub key: String,
    /// `equal` (`=`), `not_equal` (`!=`), `in`, `notin`, `exists` or `not_exists`.
    #[serde(default)]
    pub operator: String,
    /// For `in` and `notin` several, separated by commas.
    #[serde(default)]
    pub value: String,
}

/// Contract, schema `ServiceRegistry`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ServiceRegistry {
    pub id: Id,
    pub cluster_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: ServiceRegistrySpec,
}
