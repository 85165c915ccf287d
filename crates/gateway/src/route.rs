//! A compiled route: what a request that matches it needs, merged with its service.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use gantry_routing::route::RouteMatch;
use rpds::HashTrieMapSync;

use crate::{
    chain::{Chain, Links},
    consumer::Consumer,
    upstream::{Timeouts, Upstream},
};

/// A route, ready to serve.
pub struct Route {
    pub id: String,
    pub name: Option<String>,
    pub service_id: Option<String>,
    pub service_name: Option<String>,
    pub hosts: Vec<String>,
    pub matcher: RouteMatch,
    /// The plugins of route, plugin_config and service, merged.
    pub links: Links,
    pub chain: Arc<Chain>,
    pub target: Target,
    /// In place of the upstream's.
    pub timeouts: Option<Timeouts>,
    pub websocket: bool,
    /// Set if requests cannot be served because something the route refers to does not exist.
    pub broken: Option<Broken>,
    /// Chains merged with those of consumers, made when first needed.
    merged: ArcSwap<HashTrieMapSync<String, Merged>>,
}

/// One pattern of a route, as the table of routes holds it.
#[derive(Clone)]
pub struct Candidate {
    pub route: Arc<Route>,
    /// The index of the pattern among those of the route.
    pub pattern: usize,
    /// The index of the host among those of the route, if it has any.
    pub host: Option<usize>,
}

impl Candidate {
    /// The pattern as the route spells it.
    #[must_use]
    pub fn uri(&self) -> &str {
        self.route.matcher.patterns().get(self.pattern).map_or("", |pattern| pattern.text())
    }

    /// The host as the route or its service spells it; empty if any host will do.
    #[must_use]
    pub fn host(&self) -> &str {
        self.host.and_then(|host| self.route.hosts.get(host)).map_or("", String::as_str)
    }
}

/// Where a route sends requests.
#[derive(Clone)]
pub enum Target {
    None,
    Inline(Arc<Upstream>),
    Id(String),
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

/// A route's plugins together with those of a consumer and its group.
#[derive(Clone)]
pub struct Merged {
    consumer: Arc<Consumer>,
    group: Option<Arc<Links>>,
    pub chain: Arc<Chain>,
    /// The plugins the route itself does not have; their rewrite phase is still to come.
    pub added: Arc<Chain>,
}

/// Bounds the memory of one route; beyond it the merged chains are made anew.
const MERGED_MAX: usize = 4096;

/// What [`Route`] is made of.
pub struct RouteParts {
    pub id: String,
    pub name: Option<String>,
    pub service_id: Option<String>,
    pub service_name: Option<String>,
    pub hosts: Vec<String>,
    pub matcher: RouteMatch,
    pub links: Links,
    pub target: Target,
    pub timeouts: Option<Timeouts>,
    pub websocket: bool,
    pub broken: Option<Broken>,
}

impl From<RouteParts> for Route {
    fn from(parts: RouteParts) -> Self {
        let RouteParts {
            id,
            name,
            service_id,
            service_name,
            hosts,
            matcher,
            links,
            target,
            timeouts,
            websocket,
            broken,
        } = parts;
        let chain = Arc::new(Chain::merge([&links]));
        let merged = ArcSwap::default();
        Self {
            id,
            name,
            service_id,
            service_name,
            hosts,
            matcher,
            links,
            chain,
            target,
            timeouts,
            websocket,
            broken,
            merged,
        }
    }
}

impl Route {
    /// The plugins for a request of this consumer: consumer before group before route.
    pub fn merged(&self, consumer: &Arc<Consumer>, group: Option<&Arc<Links>>) -> Merged {
        let same = |merged: &&Merged| {
            Arc::ptr_eq(&merged.consumer, consumer)
                && merged.group.as_ref().map(Arc::as_ptr) == group.map(Arc::as_ptr)
        };
        if let Some(merged) = self.merged.load().get(&consumer.name).filter(same) {
            return merged.clone();
        }
        let none = Links::new();
        let group_links = group.map_or(&none, |group| &**group);
        let has: BTreeSet<_> = self.links.keys().copied().collect();
        let mut added: Links = group_links.clone();
        added.extend(consumer.links.iter().map(|(name, link)| (*name, Arc::clone(link))));
        added.retain(|name, _| !has.contains(name));
        let merged = Merged {
            consumer: Arc::clone(consumer),
            group: group.cloned(),
            chain: Arc::new(Chain::merge([&self.links, group_links, &consumer.links])),
            added: Arc::new(Chain::merge([&added])),
        };
        self.merged.rcu(|known| {
            let mut known = if known.size() < MERGED_MAX {
                (**known).clone()
            } else {
                HashTrieMapSync::new_sync()
            };
            known.insert_mut(consumer.name.clone(), merged.clone());
            known
        });
        merged
    }
}
