//! A compiled route: what a request that matches it needs. Whatever many routes have in common,
//! their service and the plugins it brings, they share.

use std::sync::Arc;

use gantry_routing::route::RouteMatch;

use crate::{
    plugin_set::PluginSet,
    upstream::{Timeouts, Upstream},
};

/// A route, ready to serve.
pub struct Route {
    pub id: Arc<str>,
    pub name: Option<Box<str>>,
    pub service_id: Option<Arc<str>>,
    /// None if there is no service of this id.
    pub service: Option<Arc<Service>>,
    /// In place of the service's.
    pub own_hosts: Box<[String]>,
    pub matcher: RouteMatch,
    /// The plugins of route, plugin_config and service, merged.
    pub plugins: Arc<PluginSet>,
    /// In place of the service's.
    pub own_target: Target,
    /// In place of the upstream's.
    pub timeouts: Option<Box<Timeouts>>,
    pub websocket: bool,
    /// Set if requests cannot be served because something the route refers to does not exist.
    pub broken: Option<Broken>,
}

/// A service, ready to serve its routes.
pub struct Service {
    pub id: Arc<str>,
    pub name: Option<String>,
    /// For routes without hosts.
    pub hosts: Box<[String]>,
    pub plugins: Arc<PluginSet>,
    pub target: Target,
    pub websocket: Option<bool>,
}

/// Where requests are sent.
#[derive(Clone)]
pub enum Target {
    None,
    Inline(Arc<Upstream>),
    Id(Box<str>),
}

impl Route {
    /// The hosts it answers for; every host if there are none.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        match &self.service {
            Some(service) if self.own_hosts.is_empty() => &service.hosts,
            _ => &self.own_hosts,
        }
    }

    /// Where its requests are sent.
    #[must_use]
    pub fn target(&self) -> &Target {
        match (&self.own_target, &self.service) {
            (Target::None, Some(service)) => &service.target,
            (own, _) => own,
        }
    }

    /// The name of the service, if it has one.
    #[must_use]
    pub fn service_name(&self) -> Option<&str> {
        self.service.as_ref()?.name.as_deref()
    }
}

/// One pattern of a route, as the table of routes holds it.
#[derive(Clone)]
pub struct Candidate {
    pub route: Arc<Route>,
    /// The index of the pattern among those of the route.
    pub pattern: u32,
    /// The index of the host among those of the route, if it has any.
    pub host: Option<u32>,
}

impl Candidate {
    /// The pattern as the route spells it.
    #[must_use]
    pub fn uri(&self) -> &str {
        let pattern = self.route.matcher.patterns().get(self.pattern as usize);
        pattern.map_or("", |pattern| pattern.text())
    }

    /// The host as the route or its service spells it; empty if any host will do.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.host.and_then(|host| self.route.hosts().get(host as usize));
        host.map_or("", String::as_str)
    }
}

/// A reference that leads nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Answered with 404.
    Service,
    /// Answered with 503.
    PluginConfig,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Service => "the service it refers to does not exist",
            Self::PluginConfig => "the plugin_config it refers to does not exist",
        })
    }
}
