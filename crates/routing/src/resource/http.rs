//! Routes and what they refer to, apart from upstreams.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Plugins, Timeout, Upstream, id, some_id, whole};

/// `/apisix/routes/{id}`. `uri`, `host` and `remote_addr` are read into their lists.
#[derive(Clone, Debug, Deserialize)]
pub struct Route {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// At least one.
    pub uris: Vec<String>,
    /// In lower case. Empty: those of the service, and if it has none, every host.
    #[serde(default)]
    pub hosts: Vec<String>,
    #[serde(default)]
    pub remote_addrs: Vec<String>,
    /// Empty is any.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Larger goes first among routes with the same pattern.
    #[serde(deserialize_with = "whole", default)]
    pub priority: i64,
    pub vars: Option<Value>,
    /// A condition in Lua.
    pub filter_func: Option<String>,
    /// Lua.
    pub script: Option<String>,
    #[serde(deserialize_with = "some_id", default)]
    pub script_id: Option<String>,
    #[serde(default)]
    pub plugins: Plugins,
    #[serde(deserialize_with = "some_id", default)]
    pub plugin_config_id: Option<String>,
    pub upstream: Option<Upstream>,
    /// Goes before `upstream` of the same object.
    #[serde(deserialize_with = "some_id", default)]
    pub upstream_id: Option<String>,
    #[serde(deserialize_with = "some_id", default)]
    pub service_id: Option<String>,
    /// Goes before that of the upstream.
    pub timeout: Option<Timeout>,
    /// Goes before that of the service.
    pub enable_websocket: Option<bool>,
    /// 0 keeps the route out of the table.
    #[serde(deserialize_with = "whole", default = "one")]
    pub status: i64,
}

impl Route {
    /// Whether requests can find it.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.status != 0
    }

    pub(super) fn finished(mut self) -> Result<Self, String> {
        lower(&mut self.hosts);
        self.upstream = self.upstream.map(Upstream::finished).transpose()?;
        if let Some(vars) = &self.vars {
            crate::expr::Expr::compile(vars).map_err(|error| format!("`vars`: {error}"))?;
        }
        Ok(self)
    }
}

/// `/apisix/services/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Service {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub plugins: Plugins,
    pub upstream: Option<Upstream>,
    #[serde(deserialize_with = "some_id", default)]
    pub upstream_id: Option<String>,
    pub script: Option<String>,
    pub enable_websocket: Option<bool>,
    /// In lower case; for routes that have none.
    #[serde(default)]
    pub hosts: Vec<String>,
}

impl Service {
    pub(super) fn finished(mut self) -> Result<Self, String> {
        lower(&mut self.hosts);
        self.upstream = self.upstream.map(Upstream::finished).transpose()?;
        Ok(self)
    }
}

/// `/apisix/consumers/{username}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Consumer {
    /// The end of the key: the name that counts.
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub username: String,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "some_id", default)]
    pub group_id: Option<String>,
    #[serde(default)]
    pub plugins: Plugins,
}

/// `/apisix/consumers/{username}/credentials/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Credential {
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Whom it authenticates; read from the key.
    #[serde(skip)]
    pub consumer: String,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// At most one, for authentication.
    #[serde(default)]
    pub plugins: Plugins,
}

/// `/apisix/global_rules/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct GlobalRule {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub plugins: Plugins,
}

/// `/apisix/plugin_configs/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct PluginConfig {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub plugins: Plugins,
}

/// `/apisix/consumer_groups/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct ConsumerGroup {
    #[serde(deserialize_with = "id")]
    pub id: String,
    pub name: Option<String>,
    pub desc: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    pub plugins: Plugins,
}

/// `/apisix/plugin_metadata/{plugin}`.
#[derive(Clone, Debug)]
pub struct PluginMetadata {
    /// The name of the plugin.
    pub id: String,
    /// Without the id.
    pub config: Map<String, Value>,
}

impl PluginMetadata {
    pub(super) fn new(id: &str, document: Value) -> Result<Self, String> {
        match document {
            Value::Object(mut config) => {
                config.remove("id");
                Ok(Self { id: id.to_owned(), config })
            }
            _ => Err("it must be an object".to_owned()),
        }
    }
}

/// `/apisix/protos/{id}`.
#[derive(Clone, Debug, Deserialize)]
pub struct Proto {
    #[serde(deserialize_with = "id")]
    pub id: String,
    /// Text of a .proto file, or a descriptor set in base64.
    pub content: String,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SslType {
    /// Shown to clients.
    #[default]
    Server,
    /// Shown to upstreams.
    Client,
}

/// `/apisix/ssls/{id}`. `sni` is read into `snis`.
#[derive(Clone, Deserialize)]
pub struct Ssl {
    #[serde(deserialize_with = "id")]
    pub id: String,
    #[serde(rename = "type", default)]
    pub kind: SslType,
    /// PEM chain.
    pub cert: String,
    /// PEM.
    pub key: String,
    /// In lower case, without a dot at the end.
    #[serde(default)]
    pub snis: Vec<String>,
    /// Further pairs, for other algorithms.
    #[serde(default)]
    pub certs: Vec<String>,
    #[serde(default)]
    pub keys: Vec<String>,
    /// Asks clients for certificates.
    pub client: Option<Client>,
    #[serde(deserialize_with = "whole", default = "one")]
    pub status: i64,
    /// Such as `TLSv1.2`; empty: what the gateway offers.
    #[serde(default)]
    pub ssl_protocols: Vec<String>,
}

/// How certificates of clients are verified.
#[derive(Clone, Debug, Deserialize)]
pub struct Client {
    /// PEM.
    pub ca: String,
    #[serde(deserialize_with = "whole")]
    pub depth: u32,
    /// Paths that pass without a certificate.
    #[serde(default)]
    pub skip_mtls_uri_regex: Vec<String>,
}

impl Ssl {
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.status != 0
    }

    pub(super) fn finished(mut self) -> Result<Self, String> {
        lower(&mut self.snis);
        for sni in &mut self.snis {
            sni.truncate(sni.trim_end_matches('.').len());
        }
        if self.certs.len() != self.keys.len() {
            return Err("`certs` and `keys` must have the same number of items".to_owned());
        }
        for regex in self.client.iter().flat_map(|client| &client.skip_mtls_uri_regex) {
            crate::regex::compile(regex, false)?;
        }
        Ok(self)
    }
}

impl std::fmt::Debug for Ssl {
    /// Without the keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ssl")
            .field("id", &self.id)
            .field("snis", &self.snis)
            .finish_non_exhaustive()
    }
}

fn one() -> i64 {
    1
}

fn lower(names: &mut [String]) {
    names.iter_mut().for_each(|name| name.make_ascii_lowercase());
}
