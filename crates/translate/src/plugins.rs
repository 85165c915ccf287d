//! The three plugins that are Gantry's own, and what they stand for in APISIX: `authentication`,
//! `acl` and `logging` (contract, schema `ClusterPlugins`). All others are copied as they are.

use std::collections::BTreeSet;

use gantry_model::Id;
use gantry_model::config::Plugins;
use serde_json::{Map, Value, json};

use crate::Surroundings;

/// Binds log collections: a plugin of its own, and a field of `logging`.
pub const LOG_COLLECTIONS: &str = "log_collections";

/// What `authentication` may stand for.
pub const AUTHENTICATION_TYPES: &[&str] =
    &["key-auth", "basic-auth", "hmac-auth", "jwt-auth", "openid-connect"];

/// Fields of our own plugins with another name in APISIX.
const RENAMED: &[(&str, &str)] = &[
    ("allowed_consumers", "whitelist"),
    ("denied_consumers", "blacklist"),
    ("rejected_status_code", "rejected_code"),
    ("error_message", "rejected_msg"),
    ("strip_credentials", "hide_credentials"),
];

/// Plugins by their APISIX names.
pub fn expanded(plugins: &Plugins, around: &Surroundings) -> Plugins {
    let mut expanded = Plugins::new();
    for (name, config) in plugins {
        match Group::of(name, config) {
            Some(group) => expanded.extend(group.members(around)),
            None => {
                expanded.insert(name.clone(), config.clone());
            }
        }
    }
    expanded
}

/// A plugin that gateways need for a configuration, switched off or not.
#[derive(Clone, Debug, PartialEq)]
pub struct Use<'a> {
    /// Its name in APISIX.
    pub name: &'a str,
    /// Where it was written, below the plugins.
    pub field: String,
    /// What was written there.
    pub config: &'a Value,
}

/// What `plugins` need of gateways. What log collections need is their own affair.
#[must_use]
pub fn uses(plugins: &Plugins) -> Vec<Use<'_>> {
    let mut uses = Vec::new();
    for (field, config) in plugins {
        let mut add = |name, field: &str, config| {
            uses.push(Use { name, field: field.to_owned(), config });
        };
        match Group::of(field, config) {
            Some(Group::Authentication(fields)) => {
                if let Some(name) = fields.get("type").and_then(Value::as_str) {
                    add(name, field, config);
                }
            }
            Some(Group::Acl(_)) => add("consumer-restriction", field, config),
            Some(Group::Logging(fields)) => {
                for (name, config) in loggers(fields) {
                    add(name, &format!("{field}.{name}"), config);
                }
            }
            Some(Group::LogCollections(_)) => {}
            None => add(field, field, config),
        }
    }
    uses
}

/// Whether a configuration is kept but switched off.
pub fn is_disabled(config: &Map<String, Value>) -> bool {
    config.get("_meta").and_then(|meta| meta.get("disable")) == Some(&json!(true))
}

/// One of our own plugins.
#[derive(Clone, Copy)]
pub enum Group<'a> {
    /// `type` names the plugin, the other fields are its configuration.
    Authentication(&'a Map<String, Value>),
    /// `mode` Allow or Deny, and lists of consumers and of labels of consumers.
    Acl(&'a Map<String, Value>),
    /// Logger plugins by name, or log collections.
    Logging(&'a Map<String, Value>),
    /// Log collections alone: a list of their ids.
    LogCollections(&'a Value),
}

impl<'a> Group<'a> {
    /// APISIX has a plugin `acl` too; ours is told by its `mode`.
    pub fn of(name: &str, config: &'a Value) -> Option<Self> {
        if name == LOG_COLLECTIONS {
            return Some(Self::LogCollections(config));
        }
        let fields = config.as_object()?;
        match name {
            "authentication" => Some(Self::Authentication(fields)),
            "acl" if fields.contains_key("mode") => Some(Self::Acl(fields)),
            "logging" => Some(Self::Logging(fields)),
            _ => None,
        }
    }

    /// Turns the path of an APISIX field back into the one the caller sent.
    pub fn as_sent(self, path: &str) -> String {
        let (Self::Authentication(fields) | Self::Acl(fields)) = self else { return path.into() };
        let sent = |name: &str| {
            let renamed = RENAMED.iter().find(|(ours, theirs)| {
                name.strip_prefix(theirs)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('['))
                    && fields.contains_key(*ours)
            });
            renamed.map_or_else(|| name.to_owned(), |(ours, theirs)| name.replacen(theirs, ours, 1))
        };
        path.split('.').map(sent).collect::<Vec<String>>().join(".")
    }

    /// The plugins it stands for.
    pub fn members(self, around: &Surroundings) -> Plugins {
        match self {
            Self::Authentication(fields) => authentication(fields).into_iter().collect(),
            Self::Acl(fields) => acl(fields, around).into_iter().collect(),
            Self::Logging(fields) => logging(fields, around),
            Self::LogCollections(list) => collected(list, around).collect(),
        }
    }

    /// The log collections it binds.
    pub fn log_collections(self) -> impl Iterator<Item = Id> {
        let list = match self {
            Self::Logging(fields) => fields.get(LOG_COLLECTIONS),
            Self::LogCollections(list) => Some(list),
            Self::Authentication(_) | Self::Acl(_) => None,
        };
        let list = list.and_then(Value::as_array);
        list.into_iter().flatten().filter_map(collection_id)
    }
}

/// An id in a list of log collections.
pub fn collection_id(value: &Value) -> Option<Id> {
    value.as_str()?.parse().ok()
}

/// The plugins of log collections.
fn collected(list: &Value, around: &Surroundings) -> impl Iterator<Item = (String, Value)> {
    Group::LogCollections(list).log_collections().filter_map(|id| {
        let collection = around.log_collections.get(&id)?;
        Some((collection.kind.plugin().to_owned(), Value::Object(collection.spec.clone())))
    })
}

/// The plugins that `logging` holds itself.
pub fn loggers(fields: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    fields.iter().filter(|(name, _)| ![LOG_COLLECTIONS, "_meta"].contains(&name.as_str()))
}

fn logging(fields: &Map<String, Value>, around: &Surroundings) -> Plugins {
    let mut plugins: Plugins =
        loggers(fields).map(|(name, config)| (name.clone(), config.clone())).collect();
    if let Some(list) = fields.get(LOG_COLLECTIONS) {
        plugins.extend(collected(list, around));
    }
    if let Some(meta) = fields.get("_meta") {
        for config in plugins.values_mut().filter_map(Value::as_object_mut) {
            config.entry("_meta").or_insert_with(|| meta.clone());
        }
    }
    plugins
}

fn authentication(fields: &Map<String, Value>) -> Option<(String, Value)> {
    let kind = fields.get("type")?.as_str().filter(|kind| AUTHENTICATION_TYPES.contains(kind))?;
    let mut config = fields.clone();
    config.remove("type");
    if let Some(strip) = config.remove("strip_credentials") {
        config.entry("hide_credentials").or_insert(strip);
    }
    Some((kind.to_owned(), Value::Object(config)))
}

/// Answer of `acl` to a consumer it keeps out.
const ACL_MESSAGE: &str = "The consumer is forbidden.";

/// Stands in a list that would be empty, which APISIX does not accept: nobody can have this name, so
/// nobody is let in, or nobody is kept out.
pub const NOBODY: &str = "#nobody";

/// What a mode of `acl` reads, and what APISIX calls its list.
pub struct AclMode {
    name: &'static str,
    /// Field of names of consumers.
    pub consumers: &'static str,
    /// Field of labels of consumers.
    pub labels: &'static str,
    target: &'static str,
}

const ACL_MODES: [AclMode; 2] = [
    AclMode {
        name: "Allow",
        consumers: "allowed_consumers",
        labels: "allowed_consumer_labels",
        target: "whitelist",
    },
    AclMode {
        name: "Deny",
        consumers: "denied_consumers",
        labels: "denied_consumer_labels",
        target: "blacklist",
    },
];

impl AclMode {
    /// The mode of an `acl`, if it has a valid one.
    pub fn of(acl: &Map<String, Value>) -> Option<&'static Self> {
        let mode = acl.get("mode")?.as_str()?;
        ACL_MODES.iter().find(|known| known.name == mode)
    }

    /// The labels that an `acl` in this mode names.
    pub fn labels_in<'a>(&self, acl: &'a Map<String, Value>) -> impl Iterator<Item = &'a str> {
        let labels = acl.get(self.labels).and_then(Value::as_array);
        labels.into_iter().flatten().filter_map(Value::as_str)
    }

    /// The consumers that an `acl` in this mode is about: those it names, and those that carry one of
    /// its labels.
    fn consumers_of(&self, acl: &Map<String, Value>, around: &Surroundings) -> Value {
        let mut names = match acl.get(self.consumers) {
            None => Vec::new(),
            Some(Value::Array(names)) => names.clone(),
            Some(other) => return other.clone(),
        };
        let labelled = self.labels_in(acl).filter_map(|label| around.labelled_consumers.get(label));
        let labelled: BTreeSet<&String> = labelled.flatten().collect();
        for name in labelled.into_iter().map(|name| json!(name)) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.is_empty() {
            names.push(json!(NOBODY));
        }
        Value::Array(names)
    }
}

fn acl(fields: &Map<String, Value>, around: &Surroundings) -> Option<(String, Value)> {
    let mode = AclMode::of(fields)?;
    let mut config = Map::new();
    config.insert(mode.target.into(), mode.consumers_of(fields, around));
    let or = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    config.insert("rejected_code".into(), or("rejected_status_code", json!(403)));
    config.insert("rejected_msg".into(), or("error_message", json!(ACL_MESSAGE)));
    if let Some(meta) = fields.get("_meta") {
        config.insert("_meta".into(), meta.clone());
    }
    Some(("consumer-restriction".into(), Value::Object(config)))
}
