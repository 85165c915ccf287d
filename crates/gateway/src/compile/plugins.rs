//! Plugins of a place. One that cannot run is reported, and left out unless that would open a door:
//! without one that protects ([`catalog::Plugin::protects`]) every request to the place is refused. APISIX
//! keeps what a place was before; a gateway that starts anew would not know it.

use std::sync::Arc;

use bytes::Bytes;
use gantry_routing::{
    expr::Expr,
    plugin::{self as catalog, Role},
    resource::Plugins,
    sentence,
};
use http::StatusCode;
use pingora::http::RequestHeader;
use serde_json::Value;

use super::Bench;
use crate::{
    answer::Answer,
    chain::{Link, Links, Phase},
    exchange::Exchange,
    plugin::{self, Flow, Identity, Place, Plugin},
};

/// What a consumer or credential is recognised by.
pub struct Identified {
    pub plugin: &'static str,
    pub identity: Identity,
}

/// Stands for plugins whose names nobody knows.
const UNKNOWN: &str = "an unknown plugin";

impl Bench {
    /// Compiles the plugins of the resource at `key`, such as `routes/7`.
    pub fn links(&self, key: &str, plugins: &Plugins, problems: &mut Vec<String>) -> Links {
        let owner = format!("{}{key}", self.directory);
        let compile = |(name, config): (&String, &Value)| match self.link(&owner, name, config) {
            Ok(link) => Some(link),
            Err(reason) => {
                problems.push(format!("plugin `{name}`: {reason}"));
                (closes(name) && !is_disabled(config)).then(|| closed(name))
            }
        };
        plugins.iter().filter_map(compile).map(|link| (link.name, Arc::new(link))).collect()
    }

    /// Reads the authentication plugins of a consumer or credential, and compiles its others.
    pub fn consumer_plugins(
        &self,
        key: &str,
        plugins: &Plugins,
        problems: &mut Vec<String>,
    ) -> (Vec<Identified>, Links) {
        let is_auth = |name: &str| catalog::get(name).is_some_and(catalog::Plugin::is_auth);
        let mut identified = Vec::new();
        let mut others = Plugins::new();
        for (name, config) in plugins {
            if !is_auth(name) {
                others.insert(name.clone(), config.clone());
                continue;
            }
            match self.identify(name, config) {
                Ok(found) => identified.extend(found),
                Err(reason) => problems.push(format!("plugin `{name}`: {reason}")),
            }
        }
        (identified, self.links(key, &others, problems))
    }

    fn link(&self, owner: &str, name: &str, config: &Value) -> Result<Link, String> {
        let known = catalog::get(name).ok_or("there is no plugin of this name")?;
        let mut config = self.checked(name, config, Role::Switch)?;
        let meta = config.as_object_mut().and_then(|config| config.remove("_meta"));
        let meta = Meta::read(meta.as_ref())?;
        let plugin = if meta.disable {
            Arc::new(Idle)
        } else {
            if self.listed.as_ref().is_some_and(|listed| !listed.contains(name)) {
                return Err("it is not in the cluster's list of plugins".to_owned());
            }
            let kind = plugin::find(name).ok_or("this gateway does not have it")?;
            let metadata = self.metadata.get(name).map(|metadata| self.secrets.resolved(metadata));
            let metadata = metadata.transpose()?;
            let place = Place { owner, metadata: metadata.as_ref(), shared: &self.shared };
            (kind.compile)(&config, &place)?
        };
        Ok(Link {
            name: known.name.as_str(),
            priority: meta.priority.unwrap_or(known.priority),
            enabled: !meta.disable,
            prefer_route: known.run_policy.as_deref() == Some("prefer_route"),
            filter: meta.filter,
            begins: first_phase(known),
            closed: false,
            error_response: meta.error_response,
            plugin,
        })
    }

    /// A configuration with its secrets and defaults; what is switched off needs no secrets.
    fn checked(&self, name: &str, config: &Value, role: Role) -> Result<Value, String> {
        let mut config =
            if is_disabled(config) { config.clone() } else { self.secrets.resolved(config)? };
        catalog::check(name, &mut config, role).map_err(|violations| sentence(&violations))?;
        Ok(config)
    }

    /// None if the configuration is switched off.
    fn identify(&self, name: &str, config: &Value) -> Result<Option<Identified>, String> {
        let config = self.checked(name, config, Role::Consumer)?;
        if Meta::read(config.get("_meta"))?.disable {
            return Ok(None);
        }
        let kind = plugin::find(name).ok_or("this gateway does not have it")?;
        let identify = kind.identify.ok_or("it does not identify consumers")?;
        let identity = identify(&config)?;
        Ok(Some(Identified { plugin: kind.name, identity }))
    }
}

/// What `_meta` says.
#[derive(Default)]
struct Meta {
    disable: bool,
    priority: Option<i64>,
    filter: Option<Expr>,
    error_response: Option<Bytes>,
}

impl Meta {
    fn read(meta: Option<&Value>) -> Result<Self, String> {
        let Some(meta) = meta else { return Ok(Self::default()) };
        let filter = meta.get("filter").map(Expr::compile).transpose();
        let error_response = meta.get("error_response").map(|body| match body {
            Value::String(text) => Bytes::from(text.clone()),
            other => Bytes::from(format!("{other}\n")),
        });
        Ok(Self {
            disable: meta.get("disable").and_then(Value::as_bool).unwrap_or(false),
            priority: meta.get("priority").and_then(Value::as_i64),
            filter: filter.map_err(|error| format!("_meta.filter: {error}"))?,
            error_response,
        })
    }
}

fn is_disabled(config: &Value) -> bool {
    config.pointer("/_meta/disable") == Some(&Value::Bool(true))
}

/// The first phase in which APISIX runs a plugin.
fn first_phase(plugin: &catalog::Plugin) -> Phase {
    let phase = |name: &String| match name.as_str() {
        "access" => Phase::Access,
        "header_filter" | "body_filter" => Phase::Response,
        "log" => Phase::Log,
        _ => Phase::Rewrite,
    };
    plugin.phases.first().map_or(Phase::Rewrite, phase)
}

/// Whether requests must not pass when this plugin cannot run.
fn closes(name: &str) -> bool {
    catalog::get(name).is_none_or(catalog::Plugin::protects)
}

fn closed(name: &str) -> Link {
    Link {
        name: catalog::get(name).map_or(UNKNOWN, |plugin| plugin.name.as_str()),
        priority: i64::MAX,
        enabled: true,
        prefer_route: false,
        filter: None,
        begins: Phase::Rewrite,
        closed: true,
        error_response: None,
        plugin: Arc::new(Closed),
    }
}

/// In place of a plugin that is switched off.
struct Idle;

impl Plugin for Idle {}

/// In place of a plugin that had to protect something and cannot. In both phases, because a
/// consumer's takes the place of the route's only after the first one.
struct Closed;

impl Plugin for Closed {
    fn rewrite(&self, _exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        Answer::page(StatusCode::SERVICE_UNAVAILABLE).into()
    }

    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        self.rewrite(exchange, request)
    }
}
