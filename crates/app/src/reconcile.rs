//! After the start: what is served must be what this version translates the resources to.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::config::{
    ApiSpec, ApplicationSpec, CanaryReleaseSpec, CertificateSpec, ConsumerSpec, LogCollectionSpec,
    Plugins, ServiceRegistrySpec,
};
use gantry_model::{Id, Result};
use gantry_store::loaded_plugin::{set_uses, uses};
use gantry_store::{resource, revision};
use gantry_translate::ClusterConfig;

use crate::change::{Change, change, replace_all};
use crate::object::{self, Spec, Stored};
use crate::{App, Cx, certificate, cluster, loaded_plugin};

/// Writes the keys that differ as one revision per cluster; usually none does.
pub(crate) async fn all(app: &App) -> Result<()> {
    let ids = gantry_store::cluster::ids(&mut app.db.read().await?).await?;
    for id in ids {
        let cx = Cx::system(app, "reconcile");
        change(&cx, id, |change| Box::pin(cluster_keys(change))).await?;
    }
    Ok(())
}

async fn cluster_keys(change: &mut Change<'_>) -> Result<()> {
    let cluster = change.cluster.id;
    let stored = revision::range(change.tx, cluster, "/", "0").await?;
    let stored: BTreeSet<String> = stored.into_iter().map(|row| row.key).collect();
    let config = load(change).await?;
    replace_all(change, &stored, gantry_translate::full(&config));
    Ok(())
}

async fn load(change: &mut Change<'_>) -> Result<ClusterConfig> {
    let id = change.cluster.id;
    let (settings, plugins) = cluster::opened(&change.app, &change.cluster)?;
    let mut uses = Uses::load(change, &plugins).await?;
    let applications = specs::<ApplicationSpec>(change, &mut uses).await?;
    let apis = specs::<ApiSpec>(change, &mut uses).await?;
    let releases = specs::<CanaryReleaseSpec>(change, &mut uses).await?;
    let consumers = specs::<ConsumerSpec>(change, &mut uses).await?;
    let log_collections = specs::<LogCollectionSpec>(change, &mut uses).await?;
    let registries = specs::<ServiceRegistrySpec>(change, &mut uses).await?;
    let mut certificates = BTreeMap::new();
    for one in specs::<CertificateSpec>(change, &mut uses).await? {
        let snis = certificate::facts(&one.spec.certificate, "certificate")?.snis;
        certificates.insert(one.row.id, (one.spec, snis));
    }
    Ok(ClusterConfig {
        id,
        settings,
        plugins,
        plugin_states: loaded_plugin::load_used(change, &uses.used).await?,
        applications: applications.into_iter().map(|one| (one.row.id, one.spec)).collect(),
        apis: apis.into_iter().map(|one| (one.row.id, (one.row.parent_id, one.spec))).collect(),
        canary_releases: releases
            .into_iter()
            .map(|one| (one.row.id, (one.row.parent_id, one.spec)))
            .collect(),
        consumers: consumers.into_iter().map(|one| (one.row.id, one.spec)).collect(),
        certificates,
        log_collections: log_collections.into_iter().map(|one| (one.row.id, one.spec)).collect(),
        service_registries: registries.into_iter().map(|one| (one.row.id, one.spec)).collect(),
    })
}

/// Which plugins are used: as it was noted when resources were written, which older versions did
/// not do, and as it is.
struct Uses {
    noted: BTreeMap<Id, Vec<String>>,
    used: BTreeSet<String>,
}

impl Uses {
    async fn load(change: &mut Change<'_>, plugins: &Plugins) -> Result<Self> {
        let noted = uses(change.tx, change.cluster.id).await?;
        Ok(Self { noted, used: object::plugins_used(&[plugins]).into_iter().collect() })
    }

    async fn note<S: Spec>(&mut self, change: &mut Change<'_>, one: &Stored<S>) -> Result<()> {
        let plugins = one.spec.index().plugins;
        if self.noted.remove(&one.row.id).unwrap_or_default() != plugins {
            set_uses(change.tx, &one.row, &plugins).await?;
        }
        self.used.extend(plugins);
        Ok(())
    }
}

async fn specs<S: Spec>(change: &mut Change<'_>, uses: &mut Uses) -> Result<Vec<Stored<S>>> {
    let rows = resource::all(change.tx, S::KIND, change.cluster.id).await?;
    let stored = object::opened_all(&change.app, rows)?;
    for one in &stored {
        uses.note(change, one).await?;
    }
    Ok(stored)
}
