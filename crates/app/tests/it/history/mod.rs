//! Whatever was done to a cluster in whatever order: its keys are the translation of its resources,
//! its digest is theirs, and its log leads to the same state.

mod step;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use gantry_app::feed::{self, After};
use gantry_app::{
    api, application, canary_release, certificate, cluster, consumer, loaded_plugin,
    log_collection, service_registry,
};
use gantry_model::config::{
    ApiSpec, ApplicationSpec, CanaryReleaseRequest, CanaryReleaseSpec, CanaryState,
    CertificateSpec, ClusterSettings, PluginState, PluginStates, Plugins,
};
use gantry_model::{ErrorCode, Id};
use gantry_routing::digest::Digest;
use gantry_testkit::database::Database;
use gantry_translate::{ClusterConfig, Keys, References};
use proptest::collection::vec;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::harness::{Bench, parse};
use step::{Step, step};

const CASES: u32 = 12;
const STEPS_MAX: usize = 24;
/// Consumers and certificates there may be at once.
const SLOTS: usize = 3;

/// Certificates are expensive to make.
static CERTIFICATES: LazyLock<Vec<(CertificateSpec, Vec<String>)>> = LazyLock::new(|| {
    let certificate = |slot: usize| {
        let names = vec![format!("s{slot}.example.com")];
        let made = rcgen::generate_simple_self_signed(names.clone()).unwrap();
        let key = made.signing_key.serialize_pem();
        (parse(json!({ "certificate": made.cert.pem(), "private_key": key })), names)
    };
    (0..SLOTS).map(certificate).collect()
});

fn pick<V>(map: &BTreeMap<Id, V>, at: Index) -> Option<Id> {
    (!map.is_empty()).then(|| *map.keys().nth(at.index(map.len())).unwrap())
}

/// A cluster and what it should hold.
struct Story<'b> {
    bench: &'b Bench,
    config: ClusterConfig,
    /// Ids of the log collections and registries that the steps know by a slot.
    slots: BTreeMap<Id, Id>,
    steps: usize,
}

impl<'b> Story<'b> {
    async fn new(bench: &'b Bench, number: u32) -> Self {
        let create = parse(json!({ "name": format!("case-{number}") }));
        let org = cluster::get(&bench.cx, bench.cluster()).await.unwrap().org_id;
        let made = cluster::create(&bench.cx, org, create).await.unwrap();
        let config = ClusterConfig {
            id: made.id,
            settings: ClusterSettings::default(),
            plugins: Plugins::new(),
            plugin_states: PluginStates::new(),
            applications: BTreeMap::new(),
            apis: BTreeMap::new(),
            canary_releases: BTreeMap::new(),
            consumers: BTreeMap::new(),
            certificates: BTreeMap::new(),
            log_collections: BTreeMap::new(),
            service_registries: BTreeMap::new(),
        };
        Self { bench, config, slots: BTreeMap::new(), steps: 0 }
    }

    /// Puts the ids of log collections that exist in place of their slots.
    fn bind(&self, plugins: &mut Plugins) {
        let bind = |list: &mut Value| {
            let slots = list.as_array().into_iter().flatten().map(|slot| parse(slot.clone()));
            let ids = slots.filter_map(|slot: Id| self.slots.get(&slot));
            *list = ids.map(|id| json!(id)).collect();
        };
        if let Some(Value::Object(logging)) = plugins.get_mut("logging") {
            logging.get_mut("log_collections").into_iter().for_each(bind);
        }
        plugins.get_mut("log_collections").into_iter().for_each(bind);
    }

    /// The same for an application; registries that are not in use make place for a target.
    fn bound(&self, mut spec: ApplicationSpec) -> ApplicationSpec {
        self.bind(&mut spec.plugins);
        for entry in &mut spec.upstreams {
            let Some(discovery) = &mut entry.upstream.service_discovery else { continue };
            let id = self.slots.get(&discovery.service_registry_id).copied();
            let registry = id.and_then(|id| self.config.service_registries.get_key_value(&id));
            match registry.filter(|(_, spec)| spec.enabled) {
                Some((id, _)) => discovery.service_registry_id = *id,
                None => {
                    entry.upstream.service_discovery = None;
                    let target = json!({ "host": "10.0.0.11", "port": 8080, "weight": 1 });
                    entry.upstream.targets = vec![parse(target)];
                }
            }
        }
        spec
    }

    /// Whether something refers to a log collection or a registry.
    fn is_used(&self, id: Id) -> bool {
        let config = &self.config;
        let plugins = config.apis.values().map(|(_, spec)| &spec.plugins);
        let plugins = plugins.chain(config.consumers.values().map(|spec| &spec.plugins));
        let of_plugins = plugins.chain([&config.plugins]).map(References::of_plugins);
        let of_applications = config.applications.values().map(References::of_application);
        of_plugins.chain(of_applications).any(|references| references.resources.contains(&id))
    }

    /// The step with ids in place of slots.
    fn with_ids(&self, step: Step) -> Step {
        match step {
            Step::CreateApplication(spec) => Step::CreateApplication(self.bound(spec)),
            Step::ReplaceApplication(at, spec) => Step::ReplaceApplication(at, self.bound(spec)),
            Step::CreateApi(at, mut spec) => {
                self.bind(&mut spec.plugins);
                Step::CreateApi(at, spec)
            }
            Step::ReplaceApi(at, mut spec) => {
                self.bind(&mut spec.plugins);
                Step::ReplaceApi(at, spec)
            }
            Step::Plugins(mut sent) => {
                self.bind(&mut sent);
                // Together they might be two loggers of one type.
                for (one, other) in [("logging", "log_collections"), ("log_collections", "logging")]
                {
                    if sent.contains_key(one) {
                        sent.entry(other).or_insert(Value::Null);
                    }
                }
                Step::Plugins(sent)
            }
            other => other,
        }
    }

    async fn take(&mut self, step: Step) {
        self.steps += 1;
        let step = self.with_ids(step);
        let (cx, id, config) = (&self.bench.cx, self.config.id, &mut self.config);
        let name = format!("step {}", self.steps);
        match step {
            Step::CreateApplication(spec) => {
                let made = application::create(cx, id, ApplicationSpec { name, ..spec }).await;
                let made = made.unwrap().value;
                config.applications.insert(made.id, made.spec);
            }
            Step::ReplaceApplication(at, spec) => {
                let Some(app) = pick(&config.applications, at) else { return };
                let spec = ApplicationSpec { name, ..spec };
                let mut releases = config.canary_releases.values();
                let bereft = releases.any(|(of, release)| {
                    *of == app
                        && release.state != CanaryState::Finished
                        && spec.upstream(&release.canary_upstream_version).is_none()
                });
                match application::replace(cx, id, app, spec).await {
                    Ok(made) if !bereft => config.applications.insert(app, made.value.spec),
                    Err(refused) if bereft && refused.code == ErrorCode::InUse => return,
                    other => panic!("a version is needed: {bereft}; {other:?}"),
                };
            }
            Step::PublishApplication(at, on) => {
                let Some(app) = pick(&config.applications, at) else { return };
                let patch = parse(json!({ "active": u8::from(!on) }));
                let made = application::patch(cx, id, app, patch).await.unwrap().value;
                config.applications.insert(app, made.spec);
            }
            Step::DeleteApplication(at) => {
                let Some(app) = pick(&config.applications, at) else { return };
                application::delete(cx, id, app, true).await.unwrap();
                config.applications.remove(&app);
                config.apis.retain(|_, (parent, _)| *parent != app);
                config.canary_releases.retain(|_, (parent, _)| *parent != app);
            }
            Step::CreateApi(at, spec) => {
                let Some(app) = pick(&config.applications, at) else { return };
                let made = api::create(cx, app, ApiSpec { name, ..spec }).await.unwrap().value;
                config.apis.insert(made.id, (app, made.spec));
            }
            Step::ReplaceApi(at, spec) => {
                let Some(api) = pick(&config.apis, at) else { return };
                let app = config.apis[&api].0;
                let spec = ApiSpec { name, ..spec };
                let made = api::replace(cx, app, api, spec).await.unwrap().value;
                config.apis.insert(api, (app, made.spec));
            }
            Step::DeleteApi(at) => {
                let Some(api) = pick(&config.apis, at) else { return };
                api::delete(cx, config.apis[&api].0, api).await.unwrap();
                config.apis.remove(&api);
            }
            Step::CreateCanaryRelease(at, spec) => {
                let Some(app) = pick(&self.config.applications, at) else { return };
                self.create_canary_release(app, CanaryReleaseSpec { name, ..spec }).await;
            }
            other => self.take_other(other).await,
        }
    }

    async fn take_other(&mut self, step: Step) {
        let (cx, id, config) = (&self.bench.cx, self.config.id, &mut self.config);
        match step {
            Step::PutConsumer(spec) => {
                let known = config.consumers.iter().find(|(_, known)| known.name == spec.name);
                let put = match known.map(|(known, _)| *known) {
                    Some(known) => consumer::replace(cx, id, known, spec.clone()).await,
                    None => consumer::create(cx, id, spec.clone()).await,
                };
                config.consumers.insert(put.unwrap().value.id, spec);
            }
            Step::DeleteConsumer(at) => {
                let Some(gone) = pick(&config.consumers, at) else { return };
                consumer::delete(cx, id, gone).await.unwrap();
                config.consumers.remove(&gone);
            }
            Step::ToggleCertificate(slot) => {
                let (spec, snis) = &CERTIFICATES[slot];
                let known = config.certificates.iter().find(|(_, known)| known.1 == *snis);
                if let Some((gone, _)) = known {
                    let gone = *gone;
                    certificate::delete(cx, id, gone).await.unwrap();
                    config.certificates.remove(&gone);
                } else {
                    let made = certificate::create(cx, id, spec.clone()).await.unwrap().value;
                    config.certificates.insert(made.id, (spec.clone(), snis.clone()));
                }
            }
            Step::Settings(sent) => {
                cluster::update_settings(cx, id, sent.clone()).await.unwrap();
                config.settings = config.settings.clone().merged(sent);
            }
            Step::Plugins(sent) => {
                cluster::update_plugins(cx, id, sent.clone()).await.unwrap();
                config.plugins.extend(sent);
                config.plugins.retain(|_, config| !config.is_null());
            }
            Step::Plugin(name, state) => self.take_plugin(name, state).await,
            Step::MoveCanaryRelease(at, on) => {
                let Some(release) = pick(&config.canary_releases, at) else { return };
                self.move_canary_release(release, on).await;
            }
            Step::DeleteCanaryRelease(at) => {
                let Some(release) = pick(&config.canary_releases, at) else { return };
                let (app, _) = config.canary_releases.remove(&release).unwrap();
                canary_release::delete(cx, app, release).await.unwrap();
            }
            other => self.take_neighbour(other).await,
        }
    }

    /// Steps about what other resources refer to.
    async fn take_neighbour(&mut self, step: Step) {
        let (cx, id, config) = (&self.bench.cx, self.config.id, &mut self.config);
        match step {
            Step::PutLogCollection(slot, spec) => {
                let put = match self.slots.get(&slot) {
                    Some(known) => log_collection::replace(cx, id, *known, spec.clone()).await,
                    None => log_collection::create(cx, id, spec.clone()).await,
                };
                let made = put.unwrap().value.id;
                config.log_collections.insert(made, spec);
                self.slots.insert(slot, made);
            }
            Step::PutServiceRegistry(slot, spec) => {
                let put = match self.slots.get(&slot) {
                    Some(known) => service_registry::replace(cx, id, *known, spec.clone()).await,
                    None => service_registry::create(cx, id, spec.clone()).await,
                };
                let made = put.unwrap().value.id;
                config.service_registries.insert(made, spec);
                self.slots.insert(slot, made);
            }
            Step::DeleteLogCollection(slot) | Step::DeleteServiceRegistry(slot) => {
                self.delete(slot).await;
            }
            other => unreachable!("{other:?} is taken elsewhere"),
        }
    }

    /// Deletes what a slot stands for, if nothing uses it.
    async fn delete(&mut self, slot: Id) {
        let Some(gone) = self.slots.get(&slot).copied() else { return };
        let (cx, cluster) = (&self.bench.cx, self.config.id);
        let deleted = if self.config.log_collections.contains_key(&gone) {
            log_collection::delete(cx, cluster, gone).await
        } else {
            service_registry::delete(cx, cluster, gone).await
        };
        if self.is_used(gone) {
            assert_eq!(deleted.unwrap_err().code, ErrorCode::InUse);
            return;
        }
        deleted.unwrap();
        self.slots.remove(&slot);
        self.config.log_collections.remove(&gone);
        self.config.service_registries.remove(&gone);
    }

    async fn take_plugin(&mut self, name: String, wanted: PluginState) {
        let (cx, id, states) = (&self.bench.cx, self.config.id, &mut self.config.plugin_states);
        let PluginState { loaded, metadata } = wanted;
        let is_loaded = gantry_translate::is_loaded(states, &name);
        let state = states.entry(name.clone()).or_default();
        match (is_loaded, loaded) {
            (true, Some(false)) => {
                loaded_plugin::unload(cx, id, name).await.unwrap();
                *state = PluginState { loaded, ..PluginState::default() };
            }
            (false, Some(true)) => {
                let sent = parse(json!({ "name": name, "metadata": metadata }));
                loaded_plugin::load(cx, id, sent).await.unwrap();
                *state = PluginState { loaded, metadata };
            }
            (true, _) => {
                let sent = parse(json!({ "metadata": metadata }));
                loaded_plugin::update(cx, id, name, sent).await.unwrap();
                state.metadata = metadata;
            }
            (false, _) => {
                let sent = parse(json!({}));
                let refused = loaded_plugin::update(cx, id, name, sent).await.unwrap_err();
                assert_eq!(refused.message, "no such loaded plugin");
            }
        }
    }

    async fn create_canary_release(&mut self, app: Id, spec: CanaryReleaseSpec) {
        let version = &spec.canary_upstream_version;
        let known = self.config.applications[&app].upstream(version).is_some();
        let made = canary_release::create(&self.bench.cx, app, request(&spec)).await;
        if !known {
            assert_eq!(made.unwrap_err().code, ErrorCode::InvalidArgument);
            return;
        }
        let made = made.unwrap().value;
        assert_eq!(made.spec.state, CanaryState::Paused);
        self.config.canary_releases.insert(made.id, (app, made.spec));
    }

    async fn move_canary_release(&mut self, release: Id, on: bool) {
        let (app, mut spec) = self.config.canary_releases[&release].clone();
        let mut others = self.config.canary_releases.iter();
        let busy =
            others.any(|(id, (of, other))| *id != release && *of == app && other.is_in_progress());
        spec.state = match (spec.state, on) {
            (CanaryState::Paused, true) => CanaryState::InProgress,
            (CanaryState::InProgress, true) => CanaryState::Finished,
            (CanaryState::Paused | CanaryState::InProgress, false) => CanaryState::Paused,
            (CanaryState::Finished, _) => return,
        };
        let moved = canary_release::replace(&self.bench.cx, app, release, request(&spec)).await;
        if spec.is_in_progress() && busy {
            assert_eq!(moved.unwrap_err().code, ErrorCode::Conflict);
            return;
        }
        moved.unwrap();
        if spec.state == CanaryState::Finished {
            let parent = self.config.applications.get_mut(&app).unwrap();
            parent.default_upstream_version.clone_from(&spec.canary_upstream_version);
        }
        self.config.canary_releases.insert(release, (app, spec));
    }

    async fn check(&self) {
        let (app, id) = (&self.bench.app, self.config.id);
        let range = feed::range(app, id, "/", Some("0"), None).await.unwrap();
        let entries = range.entries.iter();
        let stored: Keys = entries.map(|one| (one.key.clone(), one.value.to_string())).collect();
        assert_eq!(stored, gantry_translate::full(&self.config), "stored, translated");
        let store = self.bench.store().await;
        let row = gantry_store::cluster::find(&mut store.read().await.unwrap(), id).await;
        let pairs = stored.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        assert_eq!(row.unwrap().unwrap().digest, Digest::of(pairs).to_string());
        store.close().await;
        assert_eq!(self.replay(range.revision).await, stored, "replayed, stored");
    }

    /// The state that the log leads to from an empty one.
    async fn replay(&self, upto: i64) -> Keys {
        let follow = feed::open(&self.bench.app, self.config.id).await.unwrap();
        let (mut state, mut at, mut changed) = (Keys::new(), 1, follow.changed());
        while at < upto {
            let After::Revisions(some) = follow.after(at).await.unwrap() else {
                panic!("nothing was compacted");
            };
            if some.is_empty() {
                changed.changed().await.unwrap();
            }
            for revision in some {
                assert_eq!(revision.revision, at + 1, "revisions have no gap");
                at = revision.revision;
                for change in &revision.changes {
                    match &change.value {
                        Some(value) => state.insert(change.key.clone(), value.to_string()),
                        None => state.remove(&change.key),
                    };
                }
            }
        }
        state
    }
}

/// A release as a caller sends it.
fn request(spec: &CanaryReleaseSpec) -> CanaryReleaseRequest {
    parse(serde_json::to_value(spec).unwrap())
}

/// Many clusters, each with a story of its own, on one database.
fn stories(database: Database) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::new(database));
    let settings = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let number = std::cell::Cell::new(0);
    let outcome = TestRunner::new(settings).run(&vec(step(), 1..STEPS_MAX), |steps| {
        number.set(number.get() + 1);
        runtime.block_on(async {
            let mut story = Story::new(&bench, number.get()).await;
            for step in steps {
                story.take(step).await;
            }
            story.check().await;
        });
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn keys_digest_and_log_agree_after_any_history_on_sqlite() {
    stories(Database::Sqlite);
}

#[test]
fn keys_digest_and_log_agree_after_any_history_on_postgres() {
    stories(Database::postgres());
}
