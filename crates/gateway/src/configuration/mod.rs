//! The configuration as a whole: applies changes key by key, recompiles what they touch and nothing
//! else, and remembers what is wrong with which key. A value that cannot be used leaves the one
//! before in force.

mod people;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    compile::{self, Bench, Compiled, Service},
    plugin::Shared,
    route::{Candidate, Route},
    secrets::Secrets,
    snapshot::Snapshot,
    status::{Applied, Problem},
    sync::Change,
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
    routes: HashMap<String, RouteItem>,
    services: HashMap<String, Service>,
    plugin_configs: HashMap<String, Links>,
    /// Routes by what they refer to: `services/1`, `plugin_configs/2`.
    dependents: HashMap<String, BTreeSet<String>>,
    global_rules: BTreeMap<String, Links>,
    /// The names each certificate is filed under.
    names: HashMap<String, Vec<String>>,
    people: People,
    problems: BTreeMap<String, Problem>,
    /// Routes to compile once all changes of a revision are in.
    dirty: BTreeSet<String>,
}

struct RouteItem {
    source: resource::Route,
    installed: Option<Arc<Route>>,
}

impl Configuration {
    /// An empty configuration. `prefix` is the directory above all keys, `/apisix`.
    #[must_use]
    pub fn new(prefix: &str, shared: Arc<Shared>) -> Self {
        let directory = format!("{}/", prefix.trim_end_matches('/'));
        Self {
            bench: Bench {
                shared,
                metadata: HashMap::new(),
                secrets: Secrets::default(),
                directory,
            },
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
        // First what others are compiled with.
        changes.sort_by_key(|change| !is_shared(&change.key));
        self.revision = revision;
        self.snapshot.loaded = true;
        let mut shared_changed = false;
        for Change { key, value } in changes {
            if key.starts_with(REPORTS) {
                continue;
            }
            self.remember(&key, value.clone());
            let Some((directory, id)) = key.split_once('/') else { continue };
            if directory == REGISTRIES {
                self.change_registry(&key, id, value.as_deref());
            }
            if !resource::is_known(directory) {
                continue;
            }
            shared_changed |= is_shared(&key);
            self.change(directory, id, value.as_deref());
        }
        if shared_changed {
            self.recompile_all();
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

    fn change(&mut self, directory: &str, id: &str, value: Option<&[u8]>) {
        let key = format!("{directory}/{id}");
        self.problems.remove(&key);
        let Some(value) = value else { return self.remove(directory, id) };
        let changed =
            resource::parse(directory, id, value).and_then(|resource| self.put(&key, id, resource));
        match changed {
            Ok(problems) => self.report(&key, &problems),
            Err(reason) => self.report(&key, &[reason]),
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
            Resource::Route(source) => self.put_route(id, *source),
            Resource::Service(source) => {
                let Compiled { value, problems } = self.bench.service(*source)?;
                self.services.insert(id.to_owned(), value);
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
            Resource::Proto(_) => {}
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

    fn put_route(&mut self, id: &str, source: resource::Route) {
        self.unlink(id);
        for key in references(&source) {
            self.dependents.entry(key).or_default().insert(id.to_owned());
        }
        let installed = self.routes.remove(id).and_then(|before| before.installed);
        self.routes.insert(id.to_owned(), RouteItem { source, installed });
        self.dirty.insert(id.to_owned());
    }

    fn remove_route(&mut self, id: &str) {
        self.unlink(id);
        self.dirty.remove(id);
        if let Some(RouteItem { installed: Some(route), .. }) = self.routes.remove(id) {
            self.uninstall(&route);
        }
    }

    fn unlink(&mut self, id: &str) {
        let Some(item) = self.routes.get(id) else { return };
        for key in references(&item.source) {
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
            self.compile_route(&id);
        }
        let reports = self.people.settle(&self.bench, &mut self.snapshot.consumers);
        for (key, reasons) in reports {
            self.report(&key, &reasons);
        }
    }

    fn compile_route(&mut self, id: &str) {
        let Some(item) = self.routes.get(id) else { return };
        let service = item.source.service_id.as_ref().and_then(|id| self.services.get(id));
        let config =
            item.source.plugin_config_id.as_ref().and_then(|id| self.plugin_configs.get(id));
        let key = format!("routes/{id}");
        let compiled = match self.bench.route(&item.source, service, config) {
            Ok(compiled) => compiled,
            Err(reason) => return self.report(&key, &[reason]),
        };
        let fresh = item.source.is_enabled().then(|| Arc::new(compiled.value));
        let before = match self.routes.get_mut(id) {
            Some(item) => std::mem::replace(&mut item.installed, fresh.clone()),
            None => None,
        };
        if let Some(before) = before {
            self.uninstall(&before);
        }
        if let Some(fresh) = fresh {
            self.install(&fresh);
        }
        self.report(&key, &compiled.problems);
    }

    fn install(&mut self, route: &Arc<Route>) {
        let hosts =
            route.hosts.iter().enumerate().map(|(index, host)| (Some(index), Some(&**host)));
        let hostless = route.hosts.is_empty().then_some((None, None));
        for (host, name) in hostless.into_iter().chain(hosts) {
            for (pattern, text) in route.matcher.patterns().iter().enumerate() {
                let candidate = Candidate { route: Arc::clone(route), pattern, host };
                let priority = route.matcher.priority();
                self.snapshot.routes.insert(name, text, &route.id, priority, candidate);
            }
        }
    }

    fn uninstall(&mut self, route: &Route) {
        self.snapshot.routes.remove_route(&route.hosts, &route.matcher, &route.id);
    }

    /// A plugin in several rules runs for none of them, as in APISIX; that is reported.
    fn merge_global_rules(&mut self) {
        let mut times: BTreeMap<&str, usize> = BTreeMap::new();
        for name in self.global_rules.values().flat_map(Links::keys) {
            *times.entry(name).or_default() += 1;
        }
        let repeated: Vec<String> = times
            .iter()
            .filter(|(_, count)| **count > 1)
            .map(|(name, _)| {
                format!("plugin `{name}` stands in several global rules and runs for none")
            })
            .collect();
        let once: Links = self
            .global_rules
            .values()
            .flatten()
            .filter(|(name, _)| times.get(*name) == Some(&1))
            .map(|(name, link)| (*name, Arc::clone(link)))
            .collect();
        self.snapshot.global = Arc::new(Chain::merge([&once]));
        self.report("global_rules", &repeated);
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

    /// Everything once more, after something that all plugins may depend on has changed.
    fn recompile_all(&mut self) {
        let values = self.values.clone();
        for (key, value) in &values {
            if let Some((directory, id)) = key.split_once('/')
                && !is_shared(key)
            {
                self.change(directory, id, Some(value));
            }
        }
    }
}

/// Whether all plugins may depend on what this key holds.
fn is_shared(key: &str) -> bool {
    key.starts_with("plugin_metadata/") || key.starts_with("secrets/")
}

fn references(source: &resource::Route) -> impl Iterator<Item = String> {
    let service = source.service_id.as_ref().map(|id| format!("services/{id}"));
    let config = source.plugin_config_id.as_ref().map(|id| format!("plugin_configs/{id}"));
    service.into_iter().chain(config)
}
