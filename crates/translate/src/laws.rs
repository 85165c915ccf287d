//! What holds for every configuration, tried with random ones.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::Id;
use gantry_model::config::{
    ApiSpec, ApplicationSpec, CanaryReleaseSpec, CertificateSpec, ClusterSettings, ConsumerSpec,
    LogCollectionSpec, PluginState, PluginStates, Plugins, ServiceRegistrySpec, UpstreamVersion,
};
use gantry_routing::plugin::{self, Role};
use gantry_routing::resource;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    ClusterConfig, Keys, References, Surroundings, api, application, certificate, check_api,
    check_application, check_canary_release, check_certificate, check_cluster, check_consumer,
    check_log_collection, check_plugin_metadata, check_service_registry, cluster, consumer, full,
    is_loaded, loaded_plugins, service_registry, strategies, touches_routes,
};

/// One write of a caller. Ids come from a few, so that writes meet.
#[derive(Clone, Debug)]
enum Edit {
    PutApplication(Id, ApplicationSpec),
    DeleteApplication(Id),
    PutApi(Id, ApiSpec),
    DeleteApi(Id),
    /// The one release of an application.
    PutCanaryRelease(Id, CanaryReleaseSpec),
    DeleteCanaryRelease(Id),
    PutConsumer(Id, ConsumerSpec),
    DeleteConsumer(Id),
    PutCertificate(Id, CertificateSpec, Vec<String>),
    DeleteCertificate(Id),
    PutCluster(ClusterSettings, Plugins),
    PutPlugin(String, PluginState),
    PutLogCollection(Id, LogCollectionSpec),
    /// Also while it is bound, which the control plane refuses.
    DeleteLogCollection(Id),
    PutServiceRegistry(Id, ServiceRegistrySpec),
    DeleteServiceRegistry(Id),
}

fn ids() -> impl Strategy<Value = Id> {
    (1..=4_i64).prop_map(id)
}

fn id(number: i64) -> Id {
    Id::new(number).expect("a positive number")
}

/// APIs keep their application for life: two for each of the four.
fn application_of(api: Id) -> Id {
    id((api.get() + 1) / 2)
}

fn edit() -> impl Strategy<Value = Edit> {
    let consumers =
        ids().prop_flat_map(|id| (Just(id), strategies::consumer(format!("consumer_{id}"))));
    let api_ids = || (1..=8_i64).prop_map(id);
    prop_oneof![
        6 => (ids(), strategies::application()).prop_map(|(id, spec)| Edit::PutApplication(id, spec)),
        1 => ids().prop_map(Edit::DeleteApplication),
        8 => (api_ids(), strategies::api()).prop_map(|(id, spec)| Edit::PutApi(id, spec)),
        2 => api_ids().prop_map(Edit::DeleteApi),
        3 => (ids(), strategies::canary_release())
            .prop_map(|(id, spec)| Edit::PutCanaryRelease(id, spec)),
        1 => ids().prop_map(Edit::DeleteCanaryRelease),
        2 => consumers.prop_map(|(id, spec)| Edit::PutConsumer(id, spec)),
        1 => ids().prop_map(Edit::DeleteConsumer),
        2 => (ids(), strategies::certificate())
            .prop_map(|(id, (spec, snis))| Edit::PutCertificate(id, spec, snis)),
        1 => ids().prop_map(Edit::DeleteCertificate),
        2 => (strategies::cluster_settings(), strategies::cluster_plugins())
            .prop_map(|(settings, plugins)| Edit::PutCluster(settings, plugins)),
        1 => strategies::plugin_state().prop_map(|(name, state)| Edit::PutPlugin(name, state)),
        2 => strategies::log_collection()
            .prop_map(|(id, spec)| Edit::PutLogCollection(id, spec)),
        1 => ids().prop_map(Edit::DeleteLogCollection),
        2 => strategies::service_registry()
            .prop_map(|(id, spec)| Edit::PutServiceRegistry(id, spec)),
        1 => (11..=13_i64).prop_map(|number| Edit::DeleteServiceRegistry(id(number))),
    ]
}

/// Something that is translated on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Subject {
    Cluster,
    Application(Id),
    Api(Id),
    Consumer(Id),
    Certificate(Id),
    ServiceRegistry(Id),
    LoadedPlugins,
}

/// A cluster whose keys are kept by translating only what each edit touches.
struct Kept {
    config: ClusterConfig,
    keys: Keys,
}

impl Kept {
    fn new() -> Self {
        let config = ClusterConfig {
            id: id(1),
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
        let keys = full(&config);
        Self { config, keys }
    }

    fn all(&self) -> impl Iterator<Item = Subject> {
        let config = &self.config;
        let applications = config.applications.keys().copied().map(Subject::Application);
        let apis = config.apis.keys().copied().map(Subject::Api);
        let consumers = config.consumers.keys().copied().map(Subject::Consumer);
        applications.chain(apis).chain(consumers).chain([Subject::Cluster])
    }

    fn references(&self, subject: Subject) -> References {
        let config = &self.config;
        let found = match subject {
            Subject::Cluster => Some(References::of_plugins(&config.plugins)),
            Subject::Application(id) => {
                config.applications.get(&id).map(References::of_application)
            }
            Subject::Api(id) => {
                config.apis.get(&id).map(|(_, spec)| References::of_plugins(&spec.plugins))
            }
            Subject::Consumer(id) => {
                config.consumers.get(&id).map(|spec| References::of_plugins(&spec.plugins))
            }
            Subject::Certificate(_) | Subject::ServiceRegistry(_) | Subject::LoadedPlugins => None,
        };
        found.unwrap_or_default()
    }

    /// What `references` lead to, and nothing else.
    fn around(&self, references: &References) -> Surroundings {
        let mut around = Surroundings::of(&self.config);
        around.labelled_consumers.retain(|label, _| references.labels.contains(label));
        around.log_collections.retain(|id, _| references.resources.contains(id));
        around.service_registries.retain(|id, _| references.resources.contains(id));
        around
    }

    fn translated(&self, subject: Subject) -> Keys {
        let config = &self.config;
        let around = self.around(&self.references(subject));
        let found = match subject {
            Subject::Cluster => {
                Some(cluster(config.id, &config.settings, &config.plugins, &around))
            }
            Subject::Application(id) => {
                config.applications.get(&id).map(|spec| application(id, spec, &around))
            }
            Subject::Api(id) => config.apis.get(&id).and_then(|(app, spec)| {
                Some(api(id, *app, config.applications.get(app)?, spec, &around))
            }),
            Subject::Consumer(id) => {
                config.consumers.get(&id).map(|spec| consumer(id, spec, &around))
            }
            Subject::Certificate(id) => {
                config.certificates.get(&id).map(|(spec, snis)| certificate(id, spec, snis))
            }
            Subject::ServiceRegistry(id) => {
                config.service_registries.get(&id).map(|spec| service_registry(id, spec))
            }
            Subject::LoadedPlugins => Some(loaded_plugins(&config.plugin_states)),
        };
        found.unwrap_or_default()
    }

    fn apis(&self, app: Id) -> Vec<Subject> {
        let apis = self.config.apis.iter().filter(|(_, (of, _))| *of == app);
        apis.map(|(id, _)| Subject::Api(*id)).collect()
    }

    /// What has to be translated anew when consumers gain or lose these labels.
    fn naming(&self, labels: &[String]) -> Vec<Subject> {
        let names =
            |one: &Subject| labels.iter().any(|label| self.references(*one).labels.contains(label));
        self.all().filter(names).collect()
    }

    /// What has to be translated anew when a log collection or a service registry changes.
    fn binding(&self, id: Id) -> impl Iterator<Item = Subject> {
        self.all().filter(move |one| self.references(*one).resources.contains(&id))
    }

    fn labels(&self, consumer: Id) -> Vec<String> {
        self.config.consumers.get(&consumer).map(|spec| spec.labels.clone()).unwrap_or_default()
    }

    fn touched(&self, edit: &Edit) -> BTreeSet<Subject> {
        let mut touched = Vec::new();
        match edit {
            Edit::PutApplication(id, spec) => {
                touched.push(Subject::Application(*id));
                let old = self.config.applications.get(id);
                if old.is_none_or(|old| touches_routes(old, spec)) {
                    touched.extend(self.apis(*id));
                }
            }
            Edit::DeleteApplication(id) => {
                touched.push(Subject::Application(*id));
                touched.extend(self.apis(*id));
            }
            Edit::PutApi(id, _) | Edit::DeleteApi(id) => touched.push(Subject::Api(*id)),
            Edit::PutCanaryRelease(app, _) | Edit::DeleteCanaryRelease(app) => {
                touched.push(Subject::Application(*app));
            }
            Edit::PutConsumer(id, spec) => {
                touched.push(Subject::Consumer(*id));
                let mut moved = self.labels(*id);
                moved.extend(spec.labels.clone());
                touched.extend(self.naming(&moved));
            }
            Edit::DeleteConsumer(id) => {
                touched.push(Subject::Consumer(*id));
                touched.extend(self.naming(&self.labels(*id)));
            }
            Edit::PutCertificate(id, ..) | Edit::DeleteCertificate(id) => {
                touched.push(Subject::Certificate(*id));
            }
            Edit::PutCluster(..) => touched.push(Subject::Cluster),
            Edit::PutPlugin(..) => touched.push(Subject::LoadedPlugins),
            Edit::PutLogCollection(id, _) | Edit::DeleteLogCollection(id) => {
                touched.extend(self.binding(*id));
            }
            Edit::PutServiceRegistry(id, _) | Edit::DeleteServiceRegistry(id) => {
                touched.push(Subject::ServiceRegistry(*id));
                touched.extend(self.binding(*id));
            }
        }
        touched.into_iter().collect()
    }

    fn write(&mut self, edit: Edit) {
        let config = &mut self.config;
        match edit {
            Edit::PutApplication(id, spec) => {
                config.applications.insert(id, spec);
            }
            Edit::DeleteApplication(id) => {
                config.applications.remove(&id);
                config.apis.retain(|_, (app, _)| *app != id);
                config.canary_releases.remove(&id);
            }
            Edit::PutApi(id, spec) => {
                let app = application_of(id);
                if config.applications.contains_key(&app) {
                    config.apis.insert(id, (app, spec));
                }
            }
            Edit::DeleteApi(id) => {
                config.apis.remove(&id);
            }
            Edit::PutConsumer(id, spec) => {
                config.consumers.insert(id, spec);
            }
            Edit::DeleteConsumer(id) => {
                config.consumers.remove(&id);
            }
            Edit::PutCertificate(id, spec, snis) => {
                config.certificates.insert(id, (spec, snis));
            }
            Edit::DeleteCertificate(id) => {
                config.certificates.remove(&id);
            }
            Edit::PutCluster(settings, plugins) => {
                config.settings = settings;
                config.plugins = plugins;
            }
            other => self.write_other(other),
        }
    }

    fn write_other(&mut self, edit: Edit) {
        let config = &mut self.config;
        match edit {
            Edit::PutCanaryRelease(app, spec) => {
                config.canary_releases.insert(app, (app, spec));
            }
            Edit::DeleteCanaryRelease(app) => {
                config.canary_releases.remove(&app);
            }
            Edit::PutPlugin(name, state) => {
                config.plugin_states.insert(name, state);
            }
            Edit::PutLogCollection(id, spec) => {
                config.log_collections.insert(id, spec);
            }
            Edit::DeleteLogCollection(id) => {
                config.log_collections.remove(&id);
            }
            Edit::PutServiceRegistry(id, spec) => {
                config.service_registries.insert(id, spec);
            }
            Edit::DeleteServiceRegistry(id) => {
                config.service_registries.remove(&id);
            }
            other => unreachable!("{other:?} is written elsewhere"),
        }
    }

    fn apply(&mut self, edit: Edit) {
        let touched = self.touched(&edit);
        let translated = |kept: &Self| -> Keys {
            touched.iter().flat_map(|subject| kept.translated(*subject)).collect()
        };
        let before = translated(self);
        self.write(edit);
        let after = translated(self);
        self.keys.retain(|key, _| !before.contains_key(key));
        self.keys.extend(after);
    }
}

/// An API where each text may be anything.
fn wild_api() -> impl Strategy<Value = ApiSpec> {
    let texts = (".{0,8}", "[/a*.%?(+]{0,6}", ".{0,6}", "[-a(.0-9]{0,4}");
    (strategies::api(), texts).prop_map(|(mut spec, (name, path, subject, value))| {
        spec.description.push_str(&name);
        for entry in &mut spec.paths {
            entry.path.push_str(&path);
        }
        for expression in
            spec.fine_grained_route_control.iter_mut().flat_map(|c| &mut c.expressions)
        {
            expression.name.push_str(&subject);
            expression.value.push_str(&value);
        }
        spec
    })
}

/// An application where each text may be anything.
fn wild_application() -> impl Strategy<Value = ApplicationSpec> {
    let texts = ("[a*.:A\\[ ]{0,6}", "[/a*.%?(+]{0,6}", "[$a_h:]{0,6}", "[a:.\\[ -]{0,6}");
    (strategies::application(), texts).prop_map(|(mut spec, (host, path, key, target))| {
        spec.hosts.push(host);
        spec.path_prefix.push_str(&path);
        for UpstreamVersion { upstream, .. } in &mut spec.upstreams {
            upstream.hash_key.push_str(&key);
            upstream.upstream_host.push_str(&target);
            for node in &mut upstream.targets {
                node.host.push_str(&target);
            }
        }
        spec
    })
}

/// Plugins in documents that the list of plugins would keep gateways from running.
fn not_loaded(kept: &Kept) -> Vec<String> {
    let list = kept.keys.get("/apisix/plugins").map(|text| -> Vec<String> {
        let list: Value = serde_json::from_str(text).expect("a list is JSON");
        let names = list.as_array().into_iter().flatten();
        names.filter_map(|one| one["name"].as_str().map(str::to_owned)).collect()
    });
    let mut missing = Vec::new();
    for text in kept.keys.values() {
        let document: Value = serde_json::from_str(text).expect("a document is JSON");
        for name in document["plugins"].as_object().into_iter().flatten().map(|(name, _)| name) {
            let loaded = is_loaded(&kept.config.plugin_states, name);
            if !loaded || list.as_ref().is_some_and(|list| !list.contains(name)) {
                missing.push(name.clone());
            }
        }
    }
    missing
}

/// What is wrong with documents, by the code that gateways run.
fn faults(keys: &Keys) -> Vec<String> {
    let mut faults = Vec::new();
    let is_resource = |key: &str| key != "/apisix/plugins" && !key.starts_with("/apisix/cluster_");
    for (key, text) in keys.iter().filter(|(key, _)| is_resource(key)) {
        let parts: Vec<&str> = key.split('/').collect();
        let [_, _, directory, id] = parts[..] else { panic!("{key} has no directory and id") };
        if let Err(why) = resource::parse(directory, id, text.as_bytes()) {
            faults.push(format!("{key}: {why}"));
        }
        let mut document: Value = serde_json::from_str(text).expect("a document is JSON");
        if directory == "plugin_metadata"
            && let Err(why) = plugin::check(id, &mut document, Role::Metadata)
        {
            faults.push(format!("{key}: {why:?}"));
        }
        for (name, config) in document["plugins"].as_object().into_iter().flatten() {
            let role = if directory == "consumers" { Role::Consumer } else { Role::Switch };
            if let Err(why) = plugin::check(name, &mut config.clone(), role) {
                faults.push(format!("{key}: {name}: {why:?}"));
            }
        }
    }
    faults
}

proptest! {
    #[test]
    fn translating_what_changed_equals_translating_all(edits in vec(edit(), 1..40)) {
        let mut kept = Kept::new();
        for edit in edits {
            kept.apply(edit);
            prop_assert_eq!(&kept.keys, &full(&kept.config));
        }
        prop_assert_eq!(faults(&kept.keys), Vec::<String>::new());
        prop_assert_eq!(not_loaded(&kept), Vec::<String>::new());
    }

    #[test]
    fn applications_of_the_strategy_pass(parent in strategies::application(), spec in strategies::api()) {
        let around = strategies::surroundings();
        prop_assert_eq!(check_application(&parent, &around), vec![]);
        prop_assert_eq!(check_api(&parent, &spec, &around), vec![]);
    }

    #[test]
    fn canary_releases_of_the_strategy_pass(
        parent in strategies::application(),
        spec in strategies::canary_release(),
    ) {
        let missing = parent.upstream(&spec.canary_upstream_version).is_none();
        let broken = check_canary_release(&parent, &spec);
        let fields: Vec<&str> = broken.iter().map(|one| one.field.as_str()).collect();
        prop_assert_eq!(fields, if missing { vec!["canary_upstream_version"] } else { vec![] });
    }

    #[test]
    fn other_resources_of_the_strategies_pass(
        consumer in strategies::consumer("a".into()),
        certificate in strategies::certificate(),
        settings in strategies::cluster_settings(),
        collection in strategies::log_collection(),
        registry in strategies::service_registry(),
    ) {
        prop_assert_eq!(check_log_collection(&collection.1), vec![]);
        prop_assert_eq!(check_service_registry(&registry.1), vec![]);
        prop_assert_eq!(check_consumer(&consumer, &Surroundings::NONE), vec![]);
        prop_assert_eq!(check_certificate(&certificate.0, &certificate.1), vec![]);
        prop_assert_eq!(check_cluster(&settings, &Plugins::new(), &Surroundings::NONE), vec![]);
    }

    #[test]
    fn any_text_is_refused_or_makes_valid_documents(
        mut parent in wild_application(),
        mut spec in wild_api(),
    ) {
        (parent.active, spec.active) = (0, 0);
        let around = strategies::surroundings();
        let mut keys = application(id(1), &parent, &around);
        let route = api(id(2), id(1), &parent, &spec, &around);
        prop_assert_eq!((keys.is_empty(), route.len()), (false, 1));
        if check_application(&parent, &around).is_empty() {
            if check_api(&parent, &spec, &around).is_empty() {
                keys.extend(route);
            }
            prop_assert_eq!(faults(&keys), Vec::<String>::new());
        }
    }

    #[test]
    fn plugins_of_a_cluster_pass(plugins in strategies::cluster_plugins()) {
        prop_assert_eq!(check_cluster(&ClusterSettings::default(), &plugins, &strategies::surroundings()), vec![]);
    }

    #[test]
    fn metadata_of_the_strategy_passes((name, state) in strategies::plugin_state()) {
        prop_assert_eq!(check_plugin_metadata(&name, &state.metadata), vec![]);
    }
}
