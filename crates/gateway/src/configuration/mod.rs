//! The configuration as a whole: applies changes key by key, recompiles what they touch and nothing
//! else, and remembers what is wrong with which key. A value that cannot be used leaves the one
//! before in force.

mod people;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use gantry_routing::{
    digest::Digest,
    resource::{self, Resource, SslType},
};
use rpds::RedBlackTreeMapSync;
use serde_json::Value;

use crate::{
    chain::{Chain, Links},
    compile::{self, Bench, Compiled},
    plugin::Shared,
    route::{Candidate, Route, Service},
    snapshot::Snapshot,
    status::{Applied, Problem},
    sync::{Change, PLUGINS},
    upstream::Registry,
};
use people::People;

/// What gateways write themselves beside the configuration: no part of it.
const REPORTS: &str = "data_plane/";

/// Service registries, which stock APISIX knows from its start-up file only.
const REGISTRIES: &str = "cluster_registries";

/// Everything known about the configuration. Owned by one task; requests see its snapshots.
pub struct Configuration {
    bench: Bench,
    revision: i64,
    digest: Digest,
    values: RedBlackTreeMapSync<String, Arc<[u8]>>,
    snapshot: Snapshot,
    routes: HashMap<Arc<str>, RouteItem>,
    services: HashMap<String, Arc<Service>>,
    plugin_configs: HashMap<String, Links>,
    /// Routes by what they refer to: `services/1`, `plugin_configs/2`.
    dependents: HashMap<String, HashSet<Arc<str>>>,
    global_rules: BTreeMap<String, Links>,
    /// The names each certificate is filed under.
    names: HashMap<String, Vec<String>>,
    people: People,
    problems: BTreeMap<String, Problem>,
    /// Routes to compile again because of what they refer to.
    dirty: BTreeSet<Arc<str>>,
}

/// A route as it is in force.
struct RouteItem {
    /// Its text: small, and shared with `values` unless a later text could not be used.
    source: Arc<[u8]>,
    /// None if it is switched off.
    installed: Option<Arc<Route>>,
}

impl Configuration {
    /// An empty configuration. `prefix` is the directory above all keys, `/apisix`.
    #[must_use]
    pub fn new(prefix: &str, shared: Arc<Shared>) -> Self {
        let directory = format!("{}/", prefix.trim_end_matches('/'));
        Self {
            bench: Bench::new(directory, shared),
            revision: 0,
            digest: Digest::default(),
            values: RedBlackTreeMapSync::new_sync(),
            snapshot: Snapshot::default(),
            routes: HashMap::new(),
            services: HashMap::new(),
            plugin_configs: HashMap::new(),
            dependents: HashMap::new(),
            global_rules: BTreeMap::new(),
            names: HashMap::new(),
            people: People::default(),
            problems: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// What requests shall see now. Cheap.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// The values as they came, by key without prefix. Cheap.
    #[must_use]
    pub fn values(&self) -> RedBlackTreeMapSync<String, Arc<[u8]>> {
        self.values.clone()
    }

    /// What is in force.
    #[must_use]
    pub fn applied(&self, from_disk: bool) -> Applied {
        Applied {
            revision: self.revision,
            digest: self.digest.to_string(),
            problems: self.problems.values().cloned().collect(),
            from_disk,
        }
    }

    /// Makes this the whole configuration; only what differs from before is touched.
    pub fn replace(&mut self, revision: i64, entries: Vec<Change>) {
        let present: BTreeSet<&str> = entries.iter().map(|entry| &*entry.key).collect();
        let gone: Vec<Change> = self
            .values
            .keys()
            .filter(|key| !present.contains(key.as_str()))
            .map(|key| Change { key: key.clone(), value: None })
            .collect();
        let differs = |entry: &Change| self.values.get(&entry.key) != entry.value.as_ref();
        let changes: Vec<Change> = entries.into_iter().filter(differs).chain(gone).collect();
        self.apply(revision, changes);
    }

    /// Applies the changes of a revision.
    pub fn apply(&mut self, revision: i64, mut changes: Vec<Change>) {
        self.revision = revision;
        self.snapshot.loaded = true;
        changes.retain(|change| !change.key.starts_with(REPORTS));
        for Change { key, value } in &changes {
            self.remember(key, value.clone());
        }
        if changes.iter().any(|change| Rank::of(&change.key) == Rank::Shared) {
            // All plugins may depend on it: everything once more.
            changes.retain(|change| change.value.is_none());
            let all = |(key, value): (&String, &Arc<[u8]>)| Change {
                key: key.clone(),
                value: Some(Arc::clone(value)),
            };
            changes.extend(self.values.iter().map(all));
        }
        changes.sort_by_key(|change| Rank::of(&change.key));
        for Change { key, value } in changes {
            let Some((directory, id)) = key.split_once('/') else {
                if key == PLUGINS {
                    self.change_list(value.as_deref());
                }
                continue;
            };
            if directory == REGISTRIES {
                self.change_registry(&key, id, value.as_deref());
            } else if resource::is_known(directory) {
                self.change(directory, id, value);
            }
        }
        self.settle();
    }

    /// Keeps the value for the digest and the disk.
    fn remember(&mut self, key: &str, value: Option<Arc<[u8]>>) {
        let full = format!("{}{key}", self.bench.directory);
        if let Some(before) = self.values.get(key) {
            self.digest.remove(&full, &String::from_utf8_lossy(before));
        }
        match value {
            None => {
                self.values.remove_mut(key);
            }
            Some(value) => {
                self.digest.add(&full, &String::from_utf8_lossy(&value));
                self.values.insert_mut(key.to_owned(), value);
            }
        }
    }

    fn change(&mut self, directory: &str, id: &str, value: Option<Arc<[u8]>>) {
        let key = format!("{directory}/{id}");
        self.problems.remove(&key);
        let Some(value) = value else { return self.remove(directory, id) };
        let changed = resource::parse(directory, id, &value).and_then(|parsed| match parsed {
            Resource::Route(route) => self.put_route(id, *route, value),
            other => self.put(&key, id, other),
        });
        match changed {
            Ok(problems) => self.report(&key, &problems),
            Err(reason) => self.report(&key, &[reason]),
        }
    }

    /// Puts a list of plugins in force, or lets all of them run.
    fn change_list(&mut self, value: Option<&[u8]>) {
        let read = |value: &[u8]| serde_json::from_slice::<Vec<Value>>(value);
        let name = |item: &Value| item.get("name").and_then(Value::as_str).map(str::to_owned);
        match value.map(read).transpose() {
            Ok(list) => {
                self.bench.listed = list.map(|list| list.iter().filter_map(name).collect());
                self.report(PLUGINS, &[]);
            }
            Err(error) => self.report(PLUGINS, &[format!("it is no list of plugins: {error}")]),
        }
    }

    /// Puts a service registry in force, or removes it.
    fn change_registry(&mut self, key: &str, id: &str, value: Option<&[u8]>) {
        let Shared { upstreams, background, .. } = &*self.bench.shared;
        let outcome = match value {
            None => {
                upstreams.directory.remove(id);
                Ok(())
            }
            Some(value) => Registry::parse(value)
                .and_then(|registry| upstreams.directory.put(id, registry, background)),
        };
        self.report(key, outcome.err().as_slice());
    }

    fn report(&mut self, key: &str, reasons: &[String]) {
        if reasons.is_empty() {
            self.problems.remove(key);
            return;
        }
        let problem = Problem {
            key: format!("{}{key}", self.bench.directory),
            reason: reasons.join("; "),
            revision: self.revision,
        };
        tracing::warn!(key = problem.key, reason = problem.reason, "a resource has a problem");
        self.problems.insert(key.to_owned(), problem);
    }

    /// Puts a resource in force; answers what about it does not do as it says.
    fn put(&mut self, key: &str, id: &str, resource: Resource) -> Result<Vec<String>, String> {
        let mut problems = Vec::new();
        match resource {
            Resource::Service(source) => {
                let Compiled { value, problems } = self.bench.service(*source)?;
                self.services.insert(id.to_owned(), Arc::new(value));
                self.touch_dependents(key);
                return Ok(problems);
            }
            Resource::Upstream(source) => {
                let Compiled { value, problems } = self.bench.upstream(key, &source)?;
                self.snapshot.upstreams.insert_mut(id.to_owned(), value);
                return Ok(problems);
            }
            Resource::PluginConfig(source) => {
                let links = self.bench.links(key, &source.plugins, &mut problems);
                self.plugin_configs.insert(id.to_owned(), links);
                self.touch_dependents(key);
            }
            Resource::GlobalRule(source) => {
                let links = self.bench.links(key, &source.plugins, &mut problems);
                self.global_rules.insert(id.to_owned(), links);
                self.merge_global_rules();
            }
            Resource::ConsumerGroup(source) => {
                let links = self.bench.links(key, &source.plugins, &mut problems);
                self.snapshot.groups.insert_mut(id.to_owned(), Arc::new(links));
            }
            Resource::Consumer(source) => self.people.put_consumer(source),
            Resource::Credential(source) => self.people.put_credential(source),
            Resource::Ssl(mut source) => {
                self.bench.secrets.resolve_ssl(&mut source)?;
                self.put_ssl(id, &source)?;
            }
            Resource::PluginMetadata(source) => {
                self.bench.metadata.insert(source.id, Arc::new(Value::Object(source.config)));
            }
            Resource::StreamRoute(_) => problems.push("stream routes are not supported".to_owned()),
            Resource::Secret(source) => self.bench.secrets.put(id, &source)?,
            Resource::Route(_) | Resource::Proto(_) => {}
        }
        Ok(problems)
    }

    fn remove(&mut self, directory: &str, id: &str) {
        let key = format!("{directory}/{id}");
        match directory {
            "routes" => self.remove_route(id),
            "services" => {
                self.services.remove(id);
                self.touch_dependents(&key);
            }
            "plugin_configs" => {
                self.plugin_configs.remove(id);
                self.touch_dependents(&key);
            }
            "upstreams" => {
                self.snapshot.upstreams.remove_mut(id);
            }
            "global_rules" => {
                self.global_rules.remove(id);
                self.merge_global_rules();
            }
            "consumer_groups" => {
                self.snapshot.groups.remove_mut(id);
            }
            "consumers" => self.people.remove(id),
            "ssls" | "ssl" => self.remove_ssl(id),
            "plugin_metadata" => {
                self.bench.metadata.remove(id);
            }
            "secrets" => self.bench.secrets.remove(id),
            _ => {}
        }
    }

    /// Puts a route in force; answers what about it does not do as it says.
    fn put_route(
        &mut self,
        id: &str,
        route: resource::Route,
        source: Arc<[u8]>,
    ) -> Result<Vec<String>, String> {
        let service = route.service_id.as_ref().and_then(|id| self.services.get(id));
        let config = route.plugin_config_id.as_ref().and_then(|id| self.plugin_configs.get(id));
        let (enabled, references) = (route.is_enabled(), references(&route));
        let compiled = self.bench.route(route, service, config)?;
        self.remove_route(id);
        let route = Arc::new(compiled.value);
        let id = Arc::clone(&route.id);
        for key in references {
            self.dependents.entry(key).or_default().insert(Arc::clone(&id));
        }
        if enabled {
            self.install(&route);
        }
        self.routes.insert(id, RouteItem { source, installed: enabled.then_some(route) });
        Ok(compiled.problems)
    }

    fn remove_route(&mut self, id: &str) {
        self.dirty.remove(id);
        let Some(RouteItem { source, installed }) = self.routes.remove(id) else { return };
        if let Some(route) = installed {
            self.uninstall(&route);
        }
        let Ok(Resource::Route(source)) = resource::parse("routes", id, &source) else { return };
        for key in references(&source) {
            if let Some(routes) = self.dependents.get_mut(&key) {
                routes.remove(id);
                if routes.is_empty() {
                    self.dependents.remove(&key);
                }
            }
        }
    }

    fn touch_dependents(&mut self, key: &str) {
        if let Some(routes) = self.dependents.get(key) {
            self.dirty.extend(routes.iter().cloned());
        }
    }

    /// Compiles what the changes have touched.
    fn settle(&mut self) {
        for id in std::mem::take(&mut self.dirty) {
            self.compile_again(&id);
        }
        let reports = self.people.settle(&self.bench, &mut self.snapshot.consumers);
        for (key, reasons) in reports {
            self.report(&key, &reasons);
        }
    }

    fn compile_again(&mut self, id: &str) {
        let Some(source) = self.routes.get(id).map(|item| Arc::clone(&item.source)) else { return };
        let key = format!("routes/{id}");
        let is_newest = self.values.get(&key) == Some(&source);
        let changed = match resource::parse("routes", id, &source) {
            Ok(Resource::Route(route)) => self.put_route(id, *route, source),
            Ok(_) => return,
            Err(reason) => Err(reason),
        };
        // What is wrong with a newer text stays wrong.
        if is_newest {
            self.report(&key, &changed.unwrap_or_else(|reason| vec![reason]));
        }
    }

    fn install(&mut self, route: &Arc<Route>) {
        let hosts = (0..).zip(route.hosts()).map(|(index, host)| (Some(index), Some(&**host)));
        let hostless = route.hosts().is_empty().then_some((None, None));
        for (host, name) in hostless.into_iter().chain(hosts) {
            for (pattern, text) in (0..).zip(route.matcher.patterns()) {
                let candidate = Candidate { route: Arc::clone(route), pattern, host };
                let priority = route.matcher.priority();
                self.snapshot.routes.insert(name, text, &route.id, priority, candidate);
            }
        }
    }

    fn uninstall(&mut self, route: &Route) {
        self.snapshot.routes.remove_route(route.hosts(), &route.matcher, &route.id);
    }

    /// A plugin in several rules runs for none of them, as in APISIX; that is reported. One that had
    /// to protect something and cannot still refuses every request.
    fn merge_global_rules(&mut self) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.global_rules.values().flat_map(Links::keys) {
            *times.entry(name).or_default() += 1;
        }
        let all = self.global_rules.values().flatten();
        let kept: Links = all
            .filter(|(name, link)| link.closed || times.get(*name) == Some(&1))
            .map(|(name, link)| (*name, Arc::clone(link)))
            .collect();
        let dropped: Vec<String> = times
            .keys()
            .filter(|name| !kept.contains_key(*name))
            .map(|name| format!("plugin `{name}` stands in several global rules and runs for none"))
            .collect();
        self.snapshot.global = Arc::new(Chain::merge([&kept]));
        self.report("global_rules", &dropped);
    }

    fn put_ssl(&mut self, id: &str, source: &resource::Ssl) -> Result<(), String> {
        match source.kind {
            SslType::Client => {
                let pair = compile::client_certificate(source)?;
                self.remove_ssl(id);
                self.snapshot.client_certificates.insert_mut(id.to_owned(), Arc::new(pair));
            }
            SslType::Server => {
                let certificate = Arc::new(compile::server_certificate(source)?);
                self.remove_ssl(id);
                if source.is_enabled() {
                    for name in &source.snis {
                        self.snapshot.certificates.insert(name, id, Arc::clone(&certificate));
                    }
                    self.names.insert(id.to_owned(), source.snis.clone());
                }
            }
        }
        Ok(())
    }

    fn remove_ssl(&mut self, id: &str) {
        self.snapshot.client_certificates.remove_mut(id);
        for name in self.names.remove(id).unwrap_or_default() {
            self.snapshot.certificates.remove(&name, id);
        }
    }
}

/// What comes first within a revision: what others are compiled with.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// All plugins may depend on it.
    Shared,
    Other,
    Route,
}

impl Rank {
    fn of(key: &str) -> Self {
        match key.split_once('/') {
            Some(("plugin_metadata" | "secrets", _)) => Self::Shared,
            None if key == PLUGINS => Self::Shared,
            Some(("routes", _)) => Self::Route,
            _ => Self::Other,
        }
    }
}

/// The keys a route is compiled with.
fn references(source: &resource::Route) -> Vec<String> {
    let service = source.service_id.as_ref().map(|id| format!("services/{id}"));
    let config = source.plugin_config_id.as_ref().map(|id| format!("plugin_configs/{id}"));
    service.into_iter().chain(config).collect()
}
