//! After the start: what is served must be what this version translates the resources to.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::config::{ApiSpec, ApplicationSpec, CertificateSpec, ConsumerSpec};
use gantry_model::{Id, Result};
use gantry_store::resource::{self, Kind};
use gantry_store::{Tx, revision};
use gantry_translate::ClusterConfig;

use crate::change::{Change, change, replace_all};
use crate::object::{self, Spec, Stored};
use crate::{App, Cx, certificate, cluster};

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
    let app = change.app.clone();
    let id = change.cluster.id;
    let (settings, plugins) = cluster::opened(&app, &change.cluster)?;
    let applications = specs::<ApplicationSpec>(&app, change.tx, id).await?;
    let apis = specs::<ApiSpec>(&app, change.tx, id).await?;
    let consumers = specs::<ConsumerSpec>(&app, change.tx, id).await?;
    let mut certificates = BTreeMap::new();
    for one in specs::<CertificateSpec>(&app, change.tx, id).await? {
        let snis = certificate::facts(&one.spec.certificate, "certificate")?.snis;
        certificates.insert(one.row.id, (one.spec, snis));
    }
    Ok(ClusterConfig {
        id,
        settings,
        plugins,
        applications: applications.into_iter().map(|one| (one.row.id, one.spec)).collect(),
        apis: apis.into_iter().map(|one| (one.row.id, (one.row.parent_id, one.spec))).collect(),
        consumers: consumers.into_iter().map(|one| (one.row.id, one.spec)).collect(),
        certificates,
    })
}

async fn specs<S: Spec>(app: &App, tx: &mut Tx, cluster: Id) -> Result<Vec<Stored<S>>> {
    let kind: Kind = S::KIND;
    object::opened_all(app, resource::all(tx, kind, cluster).await?)
}
