//! What holds for every configuration, tried with random ones.

use std::collections::BTreeMap;

use gantry_model::Id;
use gantry_model::config::{
    ApiSpec, ApplicationSpec, CertificateSpec, ClusterSettings, ConsumerSpec, PluginState,
    PluginStates, Plugins, UpstreamVersion,
};
use gantry_routing::plugin::{self, Role};
use gantry_routing::resource;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use crate::{
    ClusterConfig, Keys, Surroundings, api, application, certificate, check_api, check_application,
    check_certificate, check_cluster, check_consumer, check_plugin_metadata, cluster, consumer,
    full, is_loaded, loaded_plugins, strategies, touches_routes,
};

/// One write of a caller. Ids come from a few, so that writes meet.
#[derive(Clone, Debug)]
enum Edit {
    PutApplication(Id, ApplicationSpec),
    DeleteApplication(Id),
    PutApi(Id, ApiSpec),
    DeleteApi(Id),
    PutConsumer(Id, ConsumerSpec),
    DeleteConsumer(Id),
    PutCertificate(Id, CertificateSpec, Vec<String>),
    DeleteCertificate(Id),
    PutCluster(ClusterSettings, Plugins),
    PutPlugin(String, PluginState),
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
        2 => consumers.prop_map(|(id, spec)| Edit::PutConsumer(id, spec)),
        1 => ids().prop_map(Edit::DeleteConsumer),
        2 => (ids(), strategies::certificate())
            .prop_map(|(id, (spec, snis))| Edit::PutCertificate(id, spec, snis)),
        1 => ids().prop_map(Edit::DeleteCertificate),
        2 => (strategies::cluster_settings(), strategies::cluster_plugins())
            .prop_map(|(settings, plugins)| Edit::PutCluster(settings, plugins)),
        1 => strategies::plugin_state().prop_map(|(name, state)| Edit::PutPlugin(name, state)),
    ]
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
            consumers: BTreeMap::new(),
            certificates: BTreeMap::new(),
        };
        let keys = full(&config);
        Self { config, keys }
    }

    fn swap(&mut self, before: &Keys, after: Keys) {
        self.keys.retain(|key, _| !before.contains_key(key));
        self.keys.extend(after);
    }

    fn routes(&self, app: Id) -> Keys {
        let Some(parent) = self.config.applications.get(&app) else { return Keys::new() };
        let apis = self.config.apis.iter().filter(|(_, (of, _))| *of == app);
        apis.flat_map(|(id, (_, spec))| api(*id, app, parent, spec, &Surroundings::NONE)).collect()
    }

    fn put_application(&mut self, id: Id, spec: ApplicationSpec) {
        let old = self.config.applications.get(&id);
        let mut before =
            old.map(|old| application(id, old, &Surroundings::NONE)).unwrap_or_default();
        let mut after = application(id, &spec, &Surroundings::NONE);
        let touched = old.is_none_or(|old| touches_routes(old, &spec));
        if touched {
            before.extend(self.routes(id));
        }
        self.config.applications.insert(id, spec);
        if touched {
            after.extend(self.routes(id));
        }
        self.swap(&before, after);
    }

    fn put_api(&mut self, id: Id, spec: ApiSpec) {
        let app = application_of(id);
        let Some(parent) = self.config.applications.get(&app) else { return };
        let after = api(id, app, parent, &spec, &Surroundings::NONE);
        let before = match self.config.apis.get(&id) {
            Some((_, old)) => api(id, app, parent, old, &Surroundings::NONE),
            None => Keys::new(),
        };
        self.config.apis.insert(id, (app, spec));
        self.swap(&before, after);
    }

    fn delete_application(&mut self, id: Id) {
        let mut before = self.routes(id);
        self.config.apis.retain(|_, (app, _)| *app != id);
        if let Some(old) = self.config.applications.remove(&id) {
            before.extend(application(id, &old, &Surroundings::NONE));
        }
        self.swap(&before, Keys::new());
    }

    fn delete_api(&mut self, id: Id) {
        if let Some((app, old)) = self.config.apis.remove(&id)
            && let Some(parent) = self.config.applications.get(&app)
        {
            self.swap(&api(id, app, parent, &old, &Surroundings::NONE), Keys::new());
        }
    }

    fn apply(&mut self, edit: Edit) {
        match edit {
            Edit::PutApplication(id, spec) => self.put_application(id, spec),
            Edit::DeleteApplication(id) => self.delete_application(id),
            Edit::PutApi(id, spec) => self.put_api(id, spec),
            Edit::DeleteApi(id) => self.delete_api(id),
            Edit::PutConsumer(id, spec) => {
                let after = consumer(id, &spec, &Surroundings::NONE);
                let old = self.config.consumers.insert(id, spec);
                self.swap(
                    &old.map(|old| consumer(id, &old, &Surroundings::NONE)).unwrap_or_default(),
                    after,
                );
            }
            Edit::DeleteConsumer(id) => {
                let old = self.config.consumers.remove(&id);
                let before =
                    old.map(|old| consumer(id, &old, &Surroundings::NONE)).unwrap_or_default();
                self.swap(&before, Keys::new());
            }
            Edit::PutCertificate(id, spec, snis) => {
                let after = certificate(id, &spec, &snis);
                let old = self.config.certificates.insert(id, (spec, snis));
                let before = old.map(|(old, snis)| certificate(id, &old, &snis));
                self.swap(&before.unwrap_or_default(), after);
            }
            Edit::DeleteCertificate(id) => {
                let old = self.config.certificates.remove(&id);
                let before = old.map(|(old, snis)| certificate(id, &old, &snis));
                self.swap(&before.unwrap_or_default(), Keys::new());
            }
            Edit::PutCluster(settings, plugins) => {
                let id = self.config.id;
                let before =
                    cluster(id, &self.config.settings, &self.config.plugins, &Surroundings::NONE);
                let after = cluster(id, &settings, &plugins, &Surroundings::NONE);
                self.config.settings = settings;
                self.config.plugins = plugins;
                self.swap(&before, after);
            }
            Edit::PutPlugin(name, state) => {
                let before = loaded_plugins(&self.config.plugin_states);
                self.config.plugin_states.insert(name, state);
                self.swap(&before, loaded_plugins(&self.config.plugin_states));
            }
        }
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
    let is_resource =
        |key: &str| key != "/apisix/plugins" && !key.starts_with("/apisix/cluster_settings/");
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
        prop_assert_eq!(check_application(&parent, &Surroundings::NONE), vec![]);
        prop_assert_eq!(check_api(&parent, &spec, &Surroundings::NONE), vec![]);
    }

    #[test]
    fn other_resources_of_the_strategies_pass(
        consumer in strategies::consumer("a".into()),
        certificate in strategies::certificate(),
        settings in strategies::cluster_settings(),
    ) {
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
        let mut keys = application(id(1), &parent, &Surroundings::NONE);
        let route = api(id(2), id(1), &parent, &spec, &Surroundings::NONE);
        prop_assert_eq!((keys.is_empty(), route.len()), (false, 1));
        if check_application(&parent, &Surroundings::NONE).is_empty() {
            if check_api(&parent, &spec, &Surroundings::NONE).is_empty() {
                keys.extend(route);
            }
            prop_assert_eq!(faults(&keys), Vec::<String>::new());
        }
    }

    #[test]
    fn plugins_of_a_cluster_pass(plugins in strategies::cluster_plugins()) {
        prop_assert_eq!(check_cluster(&ClusterSettings::default(), &plugins, &Surroundings::NONE), vec![]);
    }

    #[test]
    fn metadata_of_the_strategy_passes((name, state) in strategies::plugin_state()) {
        prop_assert_eq!(check_plugin_metadata(&name, &state.metadata), vec![]);
    }
}
