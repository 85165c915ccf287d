//! What the translation of one resource has to know of others.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::Id;
use gantry_model::config::{CanaryReleaseSpec, LogCollectionSpec};

use crate::ClusterConfig;

/// The neighbours a resource refers to. Those it does not refer to may be absent: what is translated
/// does not depend on them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    /// Names of the consumers that carry a label, by label; for `acl`.
    pub labelled_consumers: BTreeMap<String, BTreeSet<String>>,
    /// For `logging`.
    pub log_collections: BTreeMap<Id, LogCollectionSpec>,
    /// Whether each service registry is in use; for upstreams.
    pub service_registries: BTreeMap<Id, bool>,
    /// The canary release in progress, by application.
    pub canary_releases: BTreeMap<Id, CanaryReleaseSpec>,
}

impl Surroundings {
    /// For what stands alone.
    pub const NONE: Self = Self {
        labelled_consumers: BTreeMap::new(),
        log_collections: BTreeMap::new(),
        service_registries: BTreeMap::new(),
        canary_releases: BTreeMap::new(),
    };

    /// All neighbours there are in a cluster.
    #[must_use]
    pub fn of(config: &ClusterConfig) -> Self {
        let mut labelled_consumers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for consumer in config.consumers.values() {
            for label in &consumer.labels {
                let names = labelled_consumers.entry(label.clone()).or_default();
                names.insert(consumer.name.clone());
            }
        }
        let registries = config.service_registries.iter();
        let in_progress =
            config.canary_releases.values().filter(|(_, release)| release.is_in_progress());
        Self {
            labelled_consumers,
            log_collections: config.log_collections.clone(),
            service_registries: registries.map(|(id, spec)| (*id, spec.enabled)).collect(),
            canary_releases: in_progress.cloned().collect(),
        }
    }
}
