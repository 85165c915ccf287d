//! Loads what the translation of resources has to know of others.

use std::collections::BTreeMap;

use gantry_model::config::{LogCollectionSpec, ServiceRegistrySpec};
use gantry_model::{Id, Result};
use gantry_store::{Tx, reference, resource};
use gantry_translate::{References, Surroundings};

use crate::object::{self, Spec};
use crate::{App, canary_release};

/// What `references` lead to in a cluster, and canary releases in progress, of which an application
/// has at most one. Nothing else is loaded: what a resource is translated from is what it is
/// translated anew with.
pub(crate) async fn of(
    app: &App,
    tx: &mut Tx,
    cluster: Id,
    references: References,
) -> Result<Surroundings> {
    let References { labels, resources } = references;
    let ids: Vec<Id> = resources.into_iter().collect();
    let registries = specs::<ServiceRegistrySpec>(app, tx, cluster, &ids).await?;
    Ok(Surroundings {
        canary_releases: canary_release::in_progress(app, tx, cluster).await?,
        labelled_consumers: reference::labelled_consumers(tx, cluster, &labels).await?,
        log_collections: specs::<LogCollectionSpec>(app, tx, cluster, &ids).await?,
        service_registries: registries.into_iter().map(|(id, spec)| (id, spec.enabled)).collect(),
    })
}

/// Those of `ids` that are resources of one kind in this cluster.
async fn specs<S: Spec>(
    app: &App,
    tx: &mut Tx,
    cluster: Id,
    ids: &[Id],
) -> Result<BTreeMap<Id, S>> {
    let mut rows = resource::find_many(tx, S::KIND, ids).await?;
    rows.retain(|row| row.cluster_id == cluster);
    let stored = object::opened_all::<S>(app, rows)?;
    Ok(stored.into_iter().map(|one| (one.row.id, one.spec)).collect())
}
