//! One resource in, what requests need out. Pure: the same text compiles to the same thing.

mod checks;
mod plugins;
mod ssl;
mod upstream;

use std::sync::Arc;

use gantry_routing::{resource, route::RouteMatch, vars};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

pub use plugins::Identified;
pub use ssl::{client_certificate, server_certificate};
pub use upstream::{timeouts, upstream};

use crate::{
    chain::Links,
    plugin::Shared,
    plugin_set::PluginSet,
    route::{Broken, Route, Service, Target},
    secrets::Secrets,
    upstream::Upstream,
};

/// What compiling plugins needs besides their configuration.
pub struct Bench {
    pub shared: Arc<Shared>,
    /// Configuration of all uses of a plugin, by its name.
    pub metadata: HashMap<String, Arc<Value>>,
    pub secrets: Secrets,
    /// The plugins that run here, by name; None if the cluster has no list.
    pub listed: Option<HashSet<String>>,
    /// The directory above all keys, with its slash: `/apisix/`.
    pub directory: String,
    /// No plugins.
    none: Arc<PluginSet>,
}

/// What compiles, and what about it does not do as it says.
pub struct Compiled<T> {
    pub value: T,
    pub problems: Vec<String>,
}

impl Bench {
    /// `directory` is the one above all keys, with its slash.
    #[must_use]
    pub fn new(directory: String, shared: Arc<Shared>) -> Self {
        Self {
            shared,
            metadata: HashMap::new(),
            secrets: Secrets::default(),
            listed: None,
            directory,
            none: Arc::default(),
        }
    }

    /// Compiles a service.
    pub fn service(&self, source: resource::Service) -> Result<Compiled<Service>, String> {
        let mut problems = Vec::new();
        let key = format!("services/{}", source.id);
        let target = self.target(
            &key,
            source.upstream_id.as_ref(),
            source.upstream.as_ref(),
            &mut problems,
        )?;
        let links = self.links(&key, &source.plugins, &mut problems);
        let value = Service {
            id: source.id.into(),
            name: source.name,
            hosts: source.hosts.into(),
            plugins: Arc::new(PluginSet::new(links)),
            target,
            websocket: source.enable_websocket,
        };
        Ok(Compiled { value, problems })
    }

    /// Compiles a route and merges it with what it refers to. References that lead nowhere make a
    /// route that answers as APISIX does then; they are no error.
    pub fn route(
        &self,
        source: resource::Route,
        service: Option<&Arc<Service>>,
        plugin_config: Option<&Links>,
    ) -> Result<Compiled<Route>, String> {
        let mut problems = Vec::new();
        let key = format!("routes/{}", source.id);
        let own_target = self.target(
            &key,
            source.upstream_id.as_ref(),
            source.upstream.as_ref(),
            &mut problems,
        )?;
        let matcher = RouteMatch::compile(&source)?;
        let absent = matcher.variables().into_iter().filter(|name| !vars::routes_in_gantry(name));
        problems.extend(absent.map(|name| {
            format!("`vars`: this gateway does not know `{name}` when it looks for a route; no request has it")
        }));
        let own = self.links(&key, &source.plugins, &mut problems);
        let broken = broken(&source, service.is_some(), plugin_config.is_some());
        problems.extend(broken.map(|broken| broken.to_string()));
        let websocket = source.enable_websocket.or_else(|| service?.websocket);
        let service_id = match service {
            Some(service) => Some(Arc::clone(&service.id)),
            None => source.service_id.map(Arc::from),
        };
        let value = Route {
            id: source.id.into(),
            name: source.name.map(Box::from),
            service_id,
            service: service.cloned(),
            own_hosts: source.hosts.into(),
            matcher,
            plugins: self.plugins(service, plugin_config, own),
            own_target,
            timeouts: source.timeout.map(timeouts).map(Box::new),
            websocket: websocket.unwrap_or(false),
            broken,
        };
        Ok(Compiled { value, problems })
    }

    /// The plugins of a route: its own before its plugin_config's before its service's.
    fn plugins(
        &self,
        service: Option<&Arc<Service>>,
        plugin_config: Option<&Links>,
        own: Links,
    ) -> Arc<PluginSet> {
        let below = service.map_or(&self.none, |service| &service.plugins);
        if own.is_empty() && plugin_config.is_none_or(Links::is_empty) {
            return Arc::clone(below);
        }
        let mut links = below.links.clone();
        links.extend(
            plugin_config.into_iter().flatten().map(|(name, link)| (*name, Arc::clone(link))),
        );
        links.extend(own);
        Arc::new(PluginSet::new(links))
    }

    /// Compiles the upstream at `key`, such as `upstreams/7`.
    pub fn upstream(
        &self,
        key: &str,
        source: &resource::Upstream,
    ) -> Result<Compiled<Arc<Upstream>>, String> {
        upstream(source, &format!("{}{key}", self.directory), &self.shared)
    }

    /// `upstream_id` goes before `upstream` of the same object.
    fn target(
        &self,
        key: &str,
        id: Option<&String>,
        inline: Option<&resource::Upstream>,
        problems: &mut Vec<String>,
    ) -> Result<Target, String> {
        match (id, inline) {
            (Some(id), _) => Ok(Target::Id(id.as_str().into())),
            (None, None) => Ok(Target::None),
            (None, Some(source)) => {
                let compiled = self.upstream(key, source)?;
                problems.extend(compiled.problems);
                Ok(Target::Inline(compiled.value))
            }
        }
    }
}

fn broken(source: &resource::Route, has_service: bool, has_plugin_config: bool) -> Option<Broken> {
    if source.service_id.is_some() && !has_service {
        return Some(Broken::Service);
    }
    (source.plugin_config_id.is_some() && !has_plugin_config).then_some(Broken::PluginConfig)
}
