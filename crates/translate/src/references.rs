//! What a resource refers to in its cluster: when that changes, it has to be translated anew.

use std::collections::BTreeSet;

use gantry_model::Id;
use gantry_model::config::{ApplicationSpec, Plugins};

use crate::plugins::{AclMode, Group};

/// Everything a resource names of others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    /// Labels of consumers, in `acl`.
    pub labels: BTreeSet<String>,
    /// Log collections that are bound; client certificates and service registries of upstreams.
    pub resources: BTreeSet<Id>,
}

impl References {
    /// What plugins refer to.
    #[must_use]
    pub fn of_plugins(plugins: &Plugins) -> Self {
        let mut references = Self::default();
        for (name, config) in plugins {
            let Some(group) = Group::of(name, config) else { continue };
            references.resources.extend(group.log_collections());
            if let Group::Acl(acl) = group
                && let Some(mode) = AclMode::of(acl)
            {
                references.labels.extend(mode.labels_in(acl).map(str::to_owned));
            }
        }
        references
    }

    /// What plugins and upstreams of an application refer to.
    #[must_use]
    pub fn of_application(spec: &ApplicationSpec) -> Self {
        let mut references = Self::of_plugins(&spec.plugins);
        let certificates = spec.upstreams.iter().filter_map(|entry| entry.client_cert_id());
        references.resources.extend(certificates);
        references.resources.extend(registries(spec));
        references
    }
}

impl Extend<Self> for References {
    fn extend<I: IntoIterator<Item = Self>>(&mut self, all: I) {
        for Self { labels, resources } in all {
            self.labels.extend(labels);
            self.resources.extend(resources);
        }
    }
}

impl FromIterator<Self> for References {
    fn from_iter<I: IntoIterator<Item = Self>>(all: I) -> Self {
        let mut together = Self::default();
        together.extend(all);
        together
    }
}

/// The registries that upstreams of an application are looked up in.
pub fn registries(spec: &ApplicationSpec) -> impl Iterator<Item = Id> {
    let upstreams = spec.upstreams.iter().map(|entry| &entry.upstream);
    let looked_up = upstreams.filter_map(|upstream| upstream.service_discovery.as_ref());
    looked_up.map(|discovery| discovery.service_registry_id)
}
