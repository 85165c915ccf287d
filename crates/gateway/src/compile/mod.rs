//! One resource in, what requests need out. Pure: the same text compiles to the same thing.

mod checks;
mod plugins;
mod ssl;
mod upstream;

use std::sync::Arc;

use gantry_routing::{resource, route::RouteMatch};
use serde_json::Value;
use std::collections::HashMap;

pub use plugins::Identified;
pub use ssl::{client_certificate, server_certificate};
pub use upstream::{timeouts, upstream};

use crate::{
    chain::Links,
    plugin::Shared,
    route::{Broken, Route, RouteParts, Target},
    secrets::Secrets,
    upstream::Upstream,
};

/// What compiling plugins needs besides their configuration.
pub struct Bench {
    pub shared: Arc<Shared>,
    /// Configuration of all uses of a plugin, by its name.
    pub metadata: HashMap<String, Arc<Value>>,
    pub secrets: Secrets,
    /// The directory above all keys, with its slash: `/apisix/`.
    pub directory: String,
}

/// What compiles, and what about it does not do as it says.
pub struct Compiled<T> {
    pub value: T,
    pub problems: Vec<String>,
}

/// A service, ready to be merged into its routes.
pub struct Service {
    pub source: resource::Service,
    pub links: Links,
    pub target: Target,
}

impl Bench {
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
        Ok(Compiled { value: Service { source, links, target }, problems })
    }

    /// Compiles a route and merges it with what it refers to. References that lead nowhere make a
    /// route that answers as APISIX does then; they are no error.
    pub fn route(
        &self,
        source: &resource::Route,
        service: Option<&Service>,
        plugin_config: Option<&Links>,
    ) -> Result<Compiled<Route>, String> {
        let mut problems = Vec::new();
        let key = format!("routes/{}", source.id);
        let own = self.target(
            &key,
            source.upstream_id.as_ref(),
            source.upstream.as_ref(),
            &mut problems,
        )?;
        let mut links = service.map(|service| service.links.clone()).unwrap_or_default();
        links.extend(
            plugin_config.into_iter().flatten().map(|(name, link)| (*name, Arc::clone(link))),
        );
        links.extend(self.links(&key, &source.plugins, &mut problems));
        let broken = broken(source, service.is_some(), plugin_config.is_some());
        problems.extend(broken.map(|broken| broken.to_string()));
        let hosts = match service {
            Some(service) if source.hosts.is_empty() => service.source.hosts.clone(),
            _ => source.hosts.clone(),
        };
        let websocket = source.enable_websocket.or_else(|| service?.source.enable_websocket);
        let parts = RouteParts {
            id: source.id.clone(),
            name: source.name.clone(),
            service_id: source.service_id.clone(),
            service_name: service.and_then(|service| service.source.name.clone()),
            hosts,
            matcher: RouteMatch::compile(source)?,
            links,
            target: match (own, service) {
                (Target::None, Some(service)) => service.target.clone(),
                (own, _) => own,
            },
            timeouts: source.timeout.map(timeouts),
            websocket: websocket.unwrap_or(false),
            broken,
        };
        Ok(Compiled { value: Route::from(parts), problems })
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
            (Some(id), _) => Ok(Target::Id(id.clone())),
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
