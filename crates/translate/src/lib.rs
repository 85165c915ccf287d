//! Management resources in, APISIX documents out: what one cluster serves to its gateways.
//!
//! Pure functions, no clock and no I/O. The functions that translate assume resources that passed
//! the functions that check; they are total all the same.

mod api;
mod application;
mod canary_release;
mod certificate;
mod check;
mod cluster;
mod consumer;
mod document;
mod expression;
mod health;
#[cfg(test)]
mod laws;
mod loaded_plugin;
pub mod openapi;
mod overlap;
mod path;
mod plugins;
mod references;
mod service_registry;
#[cfg(any(test, feature = "strategies"))]
pub mod strategies;
mod surroundings;
mod upstream;

use std::collections::BTreeMap;

use gantry_model::Id;
use gantry_model::config::{
    ApiSpec, ApplicationSpec, CanaryReleaseSpec, CertificateSpec, ClusterSettings, ConsumerSpec,
    LogCollectionSpec, PluginStates, Plugins, ServiceRegistrySpec,
};

pub use api::{api, warning};
pub use application::{application, touches_routes};
pub use certificate::certificate;
pub use check::{
    check_api, check_application, check_canary_release, check_certificate, check_cluster,
    check_consumer, check_log_collection, check_plugin_metadata, check_service_registry,
};
pub use cluster::cluster;
pub use consumer::consumer;
pub use document::rank;
pub use loaded_plugin::{NEEDED, is_loaded, loaded_plugins};
pub use overlap::{overlap, patterns, spells_out};
pub use plugins::{Use, uses};
pub use references::{References, registries};
pub use service_registry::{service_registry, startup_registry};
pub use surroundings::Surroundings;
pub use upstream::upstream_id;

/// What gateways read: canonical JSON (sorted keys, no white space) by key, such as
/// `/apisix/routes/2001`.
pub type Keys = BTreeMap<String, String>;

/// All that makes up the configuration of one cluster.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    pub id: Id,
    pub settings: ClusterSettings,
    pub plugins: Plugins,
    /// What was decided about plugins.
    pub plugin_states: PluginStates,
    pub applications: BTreeMap<Id, ApplicationSpec>,
    /// Each with the application it belongs to.
    pub apis: BTreeMap<Id, (Id, ApiSpec)>,
    /// Each with the application it belongs to; of those in progress one for each application.
    pub canary_releases: BTreeMap<Id, (Id, CanaryReleaseSpec)>,
    pub consumers: BTreeMap<Id, ConsumerSpec>,
    /// Each with the server names that were read in it.
    pub certificates: BTreeMap<Id, (CertificateSpec, Vec<String>)>,
    pub log_collections: BTreeMap<Id, LogCollectionSpec>,
    pub service_registries: BTreeMap<Id, ServiceRegistrySpec>,
}

/// Every key of a cluster. Equals the union of what the functions per resource answer.
#[must_use]
pub fn full(config: &ClusterConfig) -> Keys {
    let around = Surroundings::of(config);
    let mut keys = cluster(config.id, &config.settings, &config.plugins, &around);
    keys.extend(loaded_plugins(&config.plugin_states));
    for (id, spec) in &config.applications {
        keys.extend(application(*id, spec, &around));
    }
    for (id, (app, spec)) in &config.apis {
        if let Some(parent) = config.applications.get(app) {
            keys.extend(api(*id, *app, parent, spec, &around));
        }
    }
    for (id, spec) in &config.consumers {
        keys.extend(consumer(*id, spec, &around));
    }
    for (id, (spec, snis)) in &config.certificates {
        keys.extend(certificate(*id, spec, snis));
    }
    for (id, spec) in &config.service_registries {
        keys.extend(service_registry(*id, spec));
    }
    keys
}
