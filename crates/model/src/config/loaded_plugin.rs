//! Plugins that may be used in a cluster: those that gateways start with, without those that were
//! unloaded, and those that were loaded on top.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::null_as_default;
use crate::{Id, Timestamp};

/// What a caller sends to load a plugin (contract, schema `PluginLoad`).
#[derive(Clone, Debug, Deserialize)]
pub struct PluginLoad {
    pub name: String,
    /// Id of the record; the plugin's name if absent.
    #[serde(default, deserialize_with = "null_as_default")]
    pub plugin_management_id: String,
    /// Category to show; the one of the catalog if absent.
    #[serde(default, rename = "type", deserialize_with = "null_as_default")]
    pub category: String,
    #[serde(default, deserialize_with = "null_as_default")]
    pub metadata: Map<String, Value>,
}

/// Contract, schema `PluginMetadataUpdate`.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginMetadataUpdate {
    /// Takes the place of all metadata; absent changes nothing.
    #[serde(default)]
    pub metadata: Option<Map<String, Value>>,
}

/// What was decided about a plugin in a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginState {
    /// Whether it was loaded or unloaded last; `None` if neither ever happened.
    pub loaded: Option<bool>,
    /// What all uses of the plugin in the cluster share.
    pub metadata: Map<String, Value>,
}

/// Everything decided about plugins in a cluster, by name.
pub type PluginStates = BTreeMap<String, PluginState>;

/// Contract, schema `LoadedPlugin`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LoadedPlugin {
    pub plugin_management_id: String,
    pub name: String,
    #[serde(rename = "type")]
    pub category: String,
    pub metadata: Map<String, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// An object that uses a plugin (contract, schema `NamedRef`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedRef {
    pub id: Id,
    pub name: String,
}

/// Where a plugin is used (contract, schema `PluginReference`); of each kind the first thousand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginReference {
    /// For all traffic of the cluster.
    pub cluster: bool,
    pub applications: Vec<NamedRef>,
    pub apis: Vec<NamedRef>,
    /// Among their plugins, or as a kind of credential.
    pub consumers: Vec<NamedRef>,
    pub log_collections: Vec<NamedRef>,
    /// All uses, also those that are not listed.
    pub count: i64,
}
