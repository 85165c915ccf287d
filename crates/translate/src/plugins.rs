//! The three plugins that are Gantry's own, and what they stand for in APISIX: `authentication`,
//! `acl` and `logging` (contract, schema `ClusterPlugins`). All others are copied as they are.

use gantry_model::config::Plugins;
use serde_json::{Map, Value, json};

use crate::Surroundings;

/// Stands for the plugins of log collections; not a plugin.
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

/// What `plugins` need of gateways. Log collections need plugins of their own.
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
                for (name, config) in fields.iter().filter(|(name, _)| *name != LOG_COLLECTIONS) {
                    add(name, &format!("{field}.{name}"), config);
                }
            }
            None if field == LOG_COLLECTIONS => {}
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
    /// `mode` Allow or Deny, and lists of consumers.
    Acl(&'a Map<String, Value>),
    /// Logger plugins by name, or log collections.
    Logging(&'a Map<String, Value>),
}

impl<'a> Group<'a> {
    /// APISIX has a plugin `acl` too; ours is told by its `mode`.
    pub fn of(name: &str, config: &'a Value) -> Option<Self> {
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
    pub fn members(self, _around: &Surroundings) -> Plugins {
        match self {
            Self::Authentication(fields) => authentication(fields).into_iter().collect(),
            Self::Acl(fields) => acl(fields).into_iter().collect(),
            Self::Logging(fields) => fields
                .iter()
                .filter(|(name, _)| *name != LOG_COLLECTIONS)
                .map(|(name, config)| (name.clone(), config.clone()))
                .collect(),
        }
    }
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

fn acl(fields: &Map<String, Value>) -> Option<(String, Value)> {
    let (source, target) = match fields.get("mode")?.as_str()? {
        "Allow" => ("allowed_consumers", "whitelist"),
        "Deny" => ("denied_consumers", "blacklist"),
        _ => return None,
    };
    let mut config = Map::new();
    config.insert(target.into(), fields.get(source)?.clone());
    let or = |name: &str, default: Value| fields.get(name).cloned().unwrap_or(default);
    config.insert("rejected_code".into(), or("rejected_status_code", json!(403)));
    config.insert("rejected_msg".into(), or("error_message", json!(ACL_MESSAGE)));
    Some(("consumer-restriction".into(), Value::Object(config)))
}
