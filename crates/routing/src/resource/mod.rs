//! The documents below `/apisix/`: parsed as APISIX would, so that a server which accepts one knows
//! that gateways will.
//!
//! Configurations of plugins stay JSON here; [`crate::plugin::check`] is for them.

mod http;
mod upstream;

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::schema::{Schema, sentence};

pub use http::{
    Client, Consumer, ConsumerGroup, Credential, GlobalRule, PluginConfig, PluginMetadata, Proto,
    Route, Service, Ssl, SslType,
};
pub use upstream::{
    Active, ActiveHealthy, ActiveUnhealthy, Checks, HashOn, KeepalivePool, Node, PassHost, Passive,
    PassiveHealthy, PassiveUnhealthy, ProbeType, Scheme, Timeout, Upstream, UpstreamTls,
};

/// Configurations of plugins by name.
pub type Plugins = Map<String, Value>;

/// A document of one of the directories.
#[derive(Clone, Debug)]
pub enum Resource {
    Route(Box<Route>),
    Service(Box<Service>),
    Upstream(Box<Upstream>),
    Consumer(Consumer),
    Credential(Credential),
    Ssl(Box<Ssl>),
    GlobalRule(GlobalRule),
    PluginConfig(PluginConfig),
    ConsumerGroup(ConsumerGroup),
    PluginMetadata(PluginMetadata),
    Proto(Proto),
    /// Checked, but with nothing that this gateway would run.
    StreamRoute(Value),
    /// Checked; the manager is the first part of the id.
    Secret(Value),
}

/// What a directory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Route,
    Service,
    Upstream,
    Consumer,
    Credential,
    Ssl,
    GlobalRule,
    PluginConfig,
    ConsumerGroup,
    PluginMetadata,
    Proto,
    StreamRoute,
    Secret,
}

/// Directories below the prefix; `ssl` and `proto` are their names in APISIX 2.15.
const DIRECTORIES: [(&str, Kind); 14] = [
    ("routes", Kind::Route),
    ("services", Kind::Service),
    ("upstreams", Kind::Upstream),
    ("consumers", Kind::Consumer),
    ("ssls", Kind::Ssl),
    ("ssl", Kind::Ssl),
    ("global_rules", Kind::GlobalRule),
    ("plugin_configs", Kind::PluginConfig),
    ("consumer_groups", Kind::ConsumerGroup),
    ("plugin_metadata", Kind::PluginMetadata),
    ("protos", Kind::Proto),
    ("proto", Kind::Proto),
    ("stream_routes", Kind::StreamRoute),
    ("secrets", Kind::Secret),
];

/// Whether documents of this directory, such as `routes`, can be parsed. Gateways pass over others.
#[must_use]
pub fn is_known(directory: &str) -> bool {
    DIRECTORIES.iter().any(|(name, _)| *name == directory)
}

/// Parses the document at `/apisix/{directory}/{id}`: checks it, fills in defaults, and takes the id
/// from the key, whatever the document says. The error is a sentence.
///
/// The id of a credential is the end of its key, `{consumer}/credentials/{id}`.
pub fn parse(directory: &str, id: &str, bytes: &[u8]) -> Result<Resource, String> {
    let document =
        serde_json::from_slice(bytes).map_err(|error| format!("it is not JSON: {error}"))?;
    parse_value(directory, id, document)
}

/// As [`parse`], for a document that is already JSON.
pub fn parse_value(directory: &str, id: &str, mut document: Value) -> Result<Resource, String> {
    let kind = Kind::of(directory, id)
        .ok_or_else(|| format!("`{directory}` is no directory of APISIX"))?;
    let own_id = match kind {
        Kind::Credential => id.rsplit('/').next().unwrap_or(id),
        _ => id,
    };
    if let Value::Object(map) = &mut document {
        map.entry("id").or_insert_with(|| own_id.into());
    }
    let violations = match schema_name(kind, id) {
        Some(name) => schema(name)?.check(&mut document),
        None => Vec::new(),
    };
    if !violations.is_empty() {
        return Err(sentence(&violations));
    }
    if let Value::Object(map) = &mut document {
        map.insert("id".to_owned(), own_id.into());
    }
    kind.typed(id, document)
}

impl Kind {
    fn of(directory: &str, id: &str) -> Option<Self> {
        let (_, kind) = DIRECTORIES.iter().find(|(name, _)| *name == directory)?;
        match kind {
            Self::Consumer if id.contains("/credentials/") => Some(Self::Credential),
            kind => Some(*kind),
        }
    }

    fn typed(self, id: &str, mut document: Value) -> Result<Resource, String> {
        if let Value::Object(map) = &mut document {
            for (one, many) in [
                ("uri", "uris"),
                ("host", "hosts"),
                ("remote_addr", "remote_addrs"),
                ("sni", "snis"),
            ] {
                if let Some(value) = map.remove(one) {
                    map.insert(many.to_owned(), Value::Array(vec![value]));
                }
            }
        }
        match self {
            Self::Route => typed::<Route>(document)?.finished().map(Box::new).map(Resource::Route),
            Self::Service => {
                typed::<Service>(document)?.finished().map(Box::new).map(Resource::Service)
            }
            Self::Upstream => {
                typed::<Upstream>(document)?.finished().map(Box::new).map(Resource::Upstream)
            }
            Self::Ssl => typed::<Ssl>(document)?.finished().map(Box::new).map(Resource::Ssl),
            Self::Consumer => typed(document).map(Resource::Consumer),
            Self::Credential => {
                let mut credential: Credential = typed(document)?;
                id.split('/').next().unwrap_or(id).clone_into(&mut credential.consumer);
                Ok(Resource::Credential(credential))
            }
            Self::GlobalRule => typed(document).map(Resource::GlobalRule),
            Self::PluginConfig => typed(document).map(Resource::PluginConfig),
            Self::ConsumerGroup => typed(document).map(Resource::ConsumerGroup),
            Self::PluginMetadata => PluginMetadata::new(id, document).map(Resource::PluginMetadata),
            Self::Proto => typed(document).map(Resource::Proto),
            Self::StreamRoute => Ok(Resource::StreamRoute(document)),
            Self::Secret => Ok(Resource::Secret(document)),
        }
    }
}

fn typed<T: DeserializeOwned>(document: Value) -> Result<T, String> {
    serde_json::from_value(document).map_err(|error| format!("it cannot be used: {error}"))
}

fn schema_name(kind: Kind, id: &str) -> Option<&'static str> {
    Some(match kind {
        Kind::Route => "route",
        Kind::Service => "service",
        Kind::Upstream => "upstream",
        Kind::Consumer => "consumer",
        Kind::Credential => "credential",
        Kind::Ssl => "ssl",
        Kind::GlobalRule => "global_rule",
        Kind::PluginConfig => "plugin_config",
        Kind::ConsumerGroup => "consumer_group",
        Kind::Proto => "proto",
        Kind::StreamRoute => "stream_route",
        Kind::PluginMetadata => return None,
        Kind::Secret => match id.split('/').next() {
            Some("vault") => "secret_vault",
            Some("aws") => "secret_aws",
            Some("gcp") => "secret_gcp",
            _ => return None,
        },
    })
}

#[expect(clippy::expect_used, reason = "the data is embedded, and every test reads it")]
static DATA: LazyLock<Map<String, Value>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../data/resources.schema.json"))
        .expect("the embedded schemas are valid JSON")
});

/// Compiled at first use.
static SCHEMAS: LazyLock<HashMap<&'static str, OnceLock<Result<Schema, String>>>> =
    LazyLock::new(|| DATA.keys().map(|name| (name.as_str(), OnceLock::new())).collect());

/// One of the embedded schemas.
pub(crate) fn schema(name: &str) -> Result<&'static Schema, String> {
    let missing = || format!("there is no schema `{name}`");
    let source = DATA.get(name).ok_or_else(missing)?;
    let cell = SCHEMAS.get(name).ok_or_else(missing)?;
    cell.get_or_init(|| Schema::compile(source)).as_ref().map_err(Clone::clone)
}

/// Ids may be texts or numbers.
fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Id {
        Text(String),
        Number(serde_json::Number),
    }
    Ok(match Id::deserialize(deserializer)? {
        Id::Text(text) => text,
        Id::Number(number) => number.to_string(),
    })
}

fn some_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    id(deserializer).map(Some)
}

/// Numbers such as `80.0` are whole numbers to APISIX.
fn whole<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_i64().or_else(|| {
        let float = number.as_f64().filter(|float| float.fract() == 0.0)?;
        (float.abs() <= 9e15).then_some(float as i64)
    });
    whole
        .and_then(|whole| T::try_from(whole).ok())
        .ok_or_else(|| serde::de::Error::custom(format!("{number} is out of range")))
}

fn some_whole<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<i64>,
{
    whole(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
