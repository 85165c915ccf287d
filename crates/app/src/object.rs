//! What all configuration kinds have in common: how they are stored, found and indexed.

use futures::future::BoxFuture;
use gantry_model::config::Plugins;
use gantry_model::{Error, Id, Page, Result};
use gantry_store::loaded_plugin;
use gantry_store::resource::{self, Kind, ResourceRow};
use gantry_store::{Tx, reference};
use gantry_translate::References;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::change::{Change, change};
use crate::plan::{self, Counted};
use crate::{App, Cx, Written};

/// A specification that is stored as a resource.
pub(crate) trait Spec: Serialize + DeserializeOwned + Send + Sync {
    const KIND: Kind;

    /// What the database has to know of it.
    fn index(&self) -> Index;
}

/// Searchable and unique parts of a specification.
#[derive(Default)]
pub(crate) struct Index {
    /// Unique below the parent.
    pub name: Option<String>,
    pub active: u8,
    pub sort_text: String,
    pub sort_number: i64,
    pub search_text: String,
    pub labels: Vec<String>,
    /// Hosts with prefix, or server names.
    pub served_names: Vec<String>,
    /// What this one cannot do without, or is translated anew with.
    pub references: References,
    /// Plugins it needs on gateways, as [`plugins_used`] answers.
    pub plugins: Vec<String>,
}

/// Names of the plugins that these configurations need on gateways.
pub(crate) fn plugins_used(plugins: &[&Plugins]) -> Vec<String> {
    let uses = plugins.iter().flat_map(|plugins| gantry_translate::uses(plugins));
    let mut names: Vec<String> = uses.map(|one| one.name.to_owned()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// A resource as it is stored.
pub(crate) struct Stored<S> {
    pub row: ResourceRow,
    pub spec: S,
}

fn place(kind: Kind, id: Id) -> String {
    format!("{}/{id}", kind.name())
}

pub(crate) fn opened<S: Spec>(app: &App, row: ResourceRow) -> Result<Stored<S>> {
    let spec = app.sealer.open_json(&place(S::KIND, row.id), &row.spec_sealed)?;
    Ok(Stored { row, spec })
}

pub(crate) fn opened_all<S: Spec>(app: &App, rows: Vec<ResourceRow>) -> Result<Vec<Stored<S>>> {
    rows.into_iter().map(|row| opened(app, row)).collect()
}

/// The resource `id` below `parent`.
pub(crate) async fn find<S: Spec>(app: &App, tx: &mut Tx, parent: Id, id: Id) -> Result<Stored<S>> {
    let row = resource::find(tx, S::KIND, id).await?.filter(|row| row.parent_id == parent);
    opened(app, row.ok_or_else(|| Error::not_found(S::KIND.noun()))?)
}

/// The cluster of a resource that the actor may see.
pub(crate) async fn cluster_of(cx: &Cx, tx: &mut Tx, kind: Kind, id: Id) -> Result<Id> {
    let unknown = || Error::not_found(kind.noun());
    let row = resource::find(tx, kind, id).await?.ok_or_else(unknown)?;
    cx.see_cluster(tx, row.cluster_id).await.map_err(|_| unknown())?;
    Ok(row.cluster_id)
}

pub(crate) fn page<T>(list: Vec<T>, count: i64) -> Page<T> {
    Page { list, count }
}

/// Changes a cluster by way of one of its resources, which `work` gets as it is stored.
pub(crate) async fn edit<S, T, W>(
    cx: &Cx,
    cluster: Id,
    parent: Id,
    id: Id,
    work: W,
) -> Result<Written<T>>
where
    S: Spec + 'static,
    T: Send + 'static,
    W: for<'c, 't> FnOnce(&'c mut Change<'t>, Stored<S>) -> BoxFuture<'c, Result<T>>
        + Send
        + 'static,
{
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let old = find(&change.app, change.tx, parent, id).await?;
            work(change, old).await
        })
    })
    .await
}

/// Stores a new resource.
pub(crate) async fn insert<S: Spec>(
    change: &mut Change<'_>,
    parent: Id,
    spec: S,
) -> Result<Stored<S>> {
    let (app, org) = (change.app.clone(), change.cluster.org_id);
    if !change.by_system {
        plan::allow_another(&app, change.tx, org, Counted::Resource(S::KIND)).await?;
    }
    let id = app.new_id();
    let index = spec.index();
    let row = ResourceRow {
        id,
        kind: S::KIND,
        cluster_id: change.cluster.id,
        parent_id: parent,
        name: index.name.clone(),
        active: index.active,
        sort_text: index.sort_text.clone(),
        sort_number: index.sort_number,
        search_text: index.search_text.clone(),
        label_text: resource::label_text(&index.labels),
        spec_sealed: change.app.sealer.seal_json(&place(S::KIND, id), &spec)?,
        created_at: change.now,
        updated_at: change.now,
    };
    resource::insert(change.tx, &row).await?;
    write_index(change.tx, &row, &Index::default(), &index).await?;
    Ok(Stored { row, spec })
}

/// Stores a new specification of a resource; returns it as it is now.
pub(crate) async fn update<S: Spec>(
    change: &mut Change<'_>,
    old: &Stored<S>,
    spec: S,
) -> Result<Stored<S>> {
    let index = spec.index();
    let row = ResourceRow {
        name: index.name.clone(),
        active: index.active,
        sort_text: index.sort_text.clone(),
        sort_number: index.sort_number,
        search_text: index.search_text.clone(),
        label_text: resource::label_text(&index.labels),
        spec_sealed: change.app.sealer.seal_json(&place(S::KIND, old.row.id), &spec)?,
        updated_at: change.now,
        ..old.row.clone()
    };
    resource::update(change.tx, &row).await?;
    write_index(change.tx, &row, &old.spec.index(), &index).await?;
    Ok(Stored { row, spec })
}

async fn write_index(tx: &mut Tx, row: &ResourceRow, old: &Index, new: &Index) -> Result<()> {
    if old.labels != new.labels {
        resource::set_labels(tx, row, &new.labels).await?;
    }
    if old.served_names != new.served_names {
        resource::set_served_names(tx, row, &new.served_names).await?;
    }
    if old.plugins != new.plugins {
        loaded_plugin::set_uses(tx, row, &new.plugins).await?;
    }
    if old.references.resources != new.references.resources {
        reference::set(tx, row.id, &new.references.resources).await?;
    }
    if old.references.labels != new.references.labels {
        reference::set_labels(tx, row, &new.references.labels).await?;
    }
    Ok(())
}
