//! Consumers: who calls APIs, with credentials that are unique in their cluster.

use std::collections::BTreeSet;

use gantry_model::config::{Consumer, ConsumerSpec, Plugins, STATUS_READY};
use gantry_model::{Error, Id, ListQuery, Page, Result};
use gantry_store::resource::{self, Kind};
use gantry_translate::{Keys, References};
use serde_json::{Map, Value};

use crate::change::{Change, change};
use crate::dependents::Dependents;
use crate::object::{self, Index, Spec, Stored};
use crate::plugin::check_usable;
use crate::{App, Cx, Written, check, mask};

/// The field of each kind of credential that says who it is.
const IDENTIFYING: [(&str, &str); 4] = [
    ("key-auth", "key"),
    ("basic-auth", "username"),
    ("hmac-auth", "access_key"),
    ("jwt-auth", "key"),
];

impl Spec for ConsumerSpec {
    const KIND: Kind = Kind::Consumer;

    fn index(&self) -> Index {
        Index {
            name: Some(self.name.clone()),
            search_text: check::search_text([self.name.as_str(), self.description.as_str()]),
            labels: self.labels.clone(),
            plugins: object::plugins_used(&[&self.plugins, &self.credentials]),
            references: References::of_plugins(&self.plugins),
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<Consumer>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = resource::list(&mut tx, Kind::Consumer, cluster, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect(), count))
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<Consumer> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    Ok(view(object::find(&cx.app, &mut tx, cluster, id).await?))
}

pub async fn create(cx: &Cx, cluster: Id, spec: ConsumerSpec) -> Result<Written<Consumer>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let around = change.around(&[&spec]).await?;
            check::refuse(&gantry_translate::check_consumer(&spec, &around))?;
            check_plugins(change, None, &spec).await?;
            let dependents = Dependents::of_labels(change, &labels(&spec)).await?;
            let stored = object::insert(change, cluster, spec).await?;
            let id = stored.row.id;
            claim(change, id, &stored.spec).await?;
            dependents.follow(change).await?;
            let around = change.around(&[&stored.spec]).await?;
            change.keys(Keys::new(), gantry_translate::consumer(id, &stored.spec, &around));
            change.audit(Kind::Consumer.name(), id, None, record(&stored.spec)?);
            Ok(view(stored))
        })
    })
    .await
}

/// A mask in a credential keeps the stored secret.
pub async fn replace(
    cx: &Cx,
    cluster: Id,
    id: Id,
    spec: ConsumerSpec,
) -> Result<Written<Consumer>> {
    object::edit(cx, cluster, cluster, id, move |change, old| Box::pin(save(change, old, spec)))
        .await
}

/// Puts `patch` over the stored consumer at the top level.
pub async fn patch(
    cx: &Cx,
    cluster: Id,
    id: Id,
    patch: Map<String, Value>,
) -> Result<Written<Consumer>> {
    object::edit(cx, cluster, cluster, id, move |change, old: Stored<ConsumerSpec>| {
        Box::pin(async move {
            let spec = check::merged(&old.spec, patch)?;
            save(change, old, spec).await
        })
    })
    .await
}

async fn save(
    change: &mut Change<'_>,
    old: Stored<ConsumerSpec>,
    mut spec: ConsumerSpec,
) -> Result<Consumer> {
    if spec.name != old.spec.name {
        let example = serde_json::to_string(&old.spec.name).map_err(Error::internal)?;
        return Err(Error::invalid_field("name", "cannot be changed", example));
    }
    mask::restore(&mut spec.credentials, &old.spec.credentials);
    mask::restore(&mut spec.plugins, &old.spec.plugins);
    let before = change.around(&[&old.spec, &spec]).await?;
    check::refuse(&gantry_translate::check_consumer(&spec, &before))?;
    check_plugins(change, Some(&old.spec), &spec).await?;
    let moved = &labels(&old.spec) ^ &labels(&spec);
    let dependents = Dependents::of_labels(change, &moved).await?;
    let new = object::update(change, &old, spec).await?;
    let id = new.row.id;
    let (was, now) = (hashes(&change.app, &old.spec), hashes(&change.app, &new.spec));
    if was != now {
        claim(change, id, &new.spec).await?;
    }
    dependents.follow(change).await?;
    let after = change.around(&[&new.spec]).await?;
    change.keys(
        gantry_translate::consumer(id, &old.spec, &before),
        gantry_translate::consumer(id, &new.spec, &after),
    );
    change.audit(Kind::Consumer.name(), id, record(&old.spec)?, record(&new.spec)?);
    Ok(view(new))
}

pub async fn delete(cx: &Cx, cluster: Id, id: Id) -> Result<Written<()>> {
    object::edit(cx, cluster, cluster, id, move |change, stored: Stored<ConsumerSpec>| {
        Box::pin(async move {
            let around = change.around(&[&stored.spec]).await?;
            let dependents = Dependents::of_labels(change, &labels(&stored.spec)).await?;
            resource::delete(change.tx, id).await?;
            dependents.follow(change).await?;
            change.keys(gantry_translate::consumer(id, &stored.spec, &around), Keys::new());
            change.audit(Kind::Consumer.name(), id, record(&stored.spec)?, None);
            Ok(())
        })
    })
    .await
}

async fn check_plugins(
    change: &mut Change<'_>,
    old: Option<&ConsumerSpec>,
    new: &ConsumerSpec,
) -> Result<()> {
    let none = Plugins::new();
    let (plugins, credentials) = old.map_or((&none, &none), |old| (&old.plugins, &old.credentials));
    check_usable(change, "plugins.", plugins, &new.plugins).await?;
    check_usable(change, "credentials.", credentials, &new.credentials).await
}

fn labels(spec: &ConsumerSpec) -> BTreeSet<String> {
    spec.labels.iter().cloned().collect()
}

/// Takes the credentials of a consumer, which no other of the cluster may have. The cluster is
/// locked, so the first look decides; the constraint of the database stands behind it.
async fn claim(change: &mut Change<'_>, id: Id, spec: &ConsumerSpec) -> Result<()> {
    let (cluster, hashes) = (change.cluster.id, hashes(&change.app, spec));
    let taken = resource::taken_credential(change.tx, cluster, id, &hashes).await?;
    let field = taken.and_then(|plugin| IDENTIFYING.into_iter().find(|(name, _)| *name == plugin));
    if let Some((plugin, field)) = field {
        return Err(Error::conflict(format!(
            "`credentials.{plugin}.{field}` is used by another consumer of this cluster: it tells \
             consumers apart and must be unique"
        )));
    }
    resource::set_credentials(change.tx, cluster, id, &hashes).await
}

/// What must be unique, as pairs of plugin and keyed hash.
fn hashes(app: &App, spec: &ConsumerSpec) -> Vec<(String, String)> {
    let identify = |(plugin, field): (&str, &str)| {
        let name = spec.credentials.get(plugin)?.get(field)?.as_str()?;
        Some((plugin.to_owned(), app.sealer.hash(name)))
    };
    IDENTIFYING.into_iter().filter_map(identify).collect()
}

fn record(spec: &ConsumerSpec) -> Result<Option<Value>> {
    check::json(&mask::consumer(spec.clone())).map(mask::document).map(Some)
}

fn view(stored: Stored<ConsumerSpec>) -> Consumer {
    let Stored { row, spec } = stored;
    Consumer {
        id: row.id,
        cluster_id: row.cluster_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        spec: mask::consumer(spec),
    }
}
