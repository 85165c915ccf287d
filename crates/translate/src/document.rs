//! How a document is put together: directories, names of keys, and the fields all documents share.

use serde_json::{Map, Value, json};

use crate::Keys;

/// Where documents of one type live, below `/apisix/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directory {
    Upstreams,
    Certificates,
    Services,
    Routes,
    Consumers,
    GlobalRules,
    PluginMetadata,
    /// Our own; APISIX ignores it.
    ClusterSettings,
    /// Our own too.
    ClusterRegistries,
}

impl Directory {
    fn name(self) -> &'static str {
        match self {
            Self::Upstreams => "upstreams",
            Self::Certificates => "ssls",
            Self::Services => "services",
            Self::Routes => "routes",
            Self::Consumers => "consumers",
            Self::GlobalRules => "global_rules",
            Self::PluginMetadata => "plugin_metadata",
            Self::ClusterSettings => "cluster_settings",
            Self::ClusterRegistries => "cluster_registries",
        }
    }
}

/// Sorts keys so that what is referred to comes before what refers to it: put in this order, delete
/// in the reverse. Keys of equal rank do not depend on each other.
#[must_use]
pub fn rank(key: &str) -> u8 {
    match key.strip_prefix("/apisix/").and_then(|rest| rest.split('/').next()) {
        Some(
            "upstreams" | "ssls" | "plugins" | "plugin_metadata" | "cluster_settings"
            | "cluster_registries",
        ) => 0,
        Some("services") => 1,
        Some("routes") => 2,
        Some("consumers") => 3,
        _ => 4,
    }
}

/// A document while it is being filled in. Empty parts are left out, for a written default and an
/// absent field would be two spellings of one thing.
pub struct Document(Map<String, Value>);

impl Document {
    pub fn new() -> Self {
        Self(Map::new())
    }

    /// A document that starts with its id.
    pub fn with_id(id: &impl std::fmt::Display) -> Self {
        let mut document = Self::new();
        document.put("id", id.to_string());
        document
    }

    pub fn put(&mut self, field: &str, value: impl Into<Value>) {
        self.0.insert(field.to_owned(), value.into());
    }

    pub fn put_some(&mut self, field: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(field, value);
        }
    }

    /// Leaves the field out if the map is empty.
    pub fn put_map(&mut self, field: &str, value: Map<String, Value>) {
        if !value.is_empty() {
            self.put(field, value);
        }
    }

    /// Leaves the field out if the text is empty.
    pub fn put_text(&mut self, field: &str, text: &str) {
        if !text.is_empty() {
            self.put(field, text);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_map(self) -> Map<String, Value> {
        self.0
    }

    /// Adds the document to `keys` under its canonical text.
    pub fn store(self, keys: &mut Keys, directory: Directory, id: impl std::fmt::Display) {
        let key = format!("/apisix/{}/{id}", directory.name());
        keys.insert(key, Value::Object(self.0).to_string());
    }
}

/// Longest `desc` a gateway accepts, in characters.
const DESCRIPTION_MAX: usize = 256;

/// `description` as a gateway takes it.
pub fn description(text: &str) -> String {
    text.chars().take(DESCRIPTION_MAX).collect()
}

/// Labels of the management API are a list, those of APISIX a map with values that matter to nobody.
pub fn labels(list: &[String]) -> Map<String, Value> {
    list.iter().map(|label| (label.clone(), json!("true"))).collect()
}
