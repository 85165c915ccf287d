//! Log collections: places that access logs are sent to, bound by plugins of other resources.

use gantry_model::config::{LogCollection, LogCollectionSpec, LoggerType, Plugins, STATUS_READY};
use gantry_model::{Id, ListQuery, Page, Result};
use gantry_store::resource::{self, Kind};
use serde_json::{Value, json};

use crate::change::{Change, change};
use crate::dependents::{self, Dependents};
use crate::object::{self, Index, Spec, Stored};
use crate::plugin::check_usable;
use crate::{Cx, Written, check, mask};

impl Spec for LogCollectionSpec {
    const KIND: Kind = Kind::LogCollection;

    fn index(&self) -> Index {
        Index {
            name: Some(self.name.clone()),
            search_text: check::search_text([self.name.as_str(), self.description.as_str()]),
            plugins: vec![self.kind.plugin().to_owned()],
            ..Index::default()
        }
    }
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<LogCollection>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = resource::list(&mut tx, Kind::LogCollection, cluster, query).await?;
    let stored = object::opened_all(&cx.app, rows)?;
    Ok(object::page(stored.into_iter().map(view).collect(), count))
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<LogCollection> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    Ok(view(object::find(&cx.app, &mut tx, cluster, id).await?))
}

pub async fn create(
    cx: &Cx,
    cluster: Id,
    spec: LogCollectionSpec,
) -> Result<Written<LogCollection>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let spec = normalized(spec);
            check::refuse(&gantry_translate::check_log_collection(&spec))?;
            check_usable(change, "type.", &Plugins::new(), &as_plugin(&spec)).await?;
            let stored = object::insert(change, cluster, spec).await?;
            let after = record(&stored.spec)?;
            change.audit(Kind::LogCollection.name(), stored.row.id, None, after);
            Ok(view(stored))
        })
    })
    .await
}

/// A mask keeps the stored secret. What binds the collection is translated anew.
pub async fn replace(
    cx: &Cx,
    cluster: Id,
    id: Id,
    spec: LogCollectionSpec,
) -> Result<Written<LogCollection>> {
    object::edit(cx, cluster, cluster, id, move |change, old| Box::pin(save(change, old, spec)))
        .await
}

async fn save(
    change: &mut Change<'_>,
    old: Stored<LogCollectionSpec>,
    spec: LogCollectionSpec,
) -> Result<LogCollection> {
    let mut spec = normalized(spec);
    mask::restore(&mut spec.spec, &old.spec.spec);
    check::refuse(&gantry_translate::check_log_collection(&spec))?;
    check_usable(change, "type.", &as_plugin(&old.spec), &as_plugin(&spec)).await?;
    let dependents = Dependents::of_resource(change, old.row.id).await?;
    let new = object::update(change, &old, spec).await?;
    if new.spec.kind != old.spec.kind {
        // Whoever binds it may have a logger of the new type already.
        dependents.check(change, "the changed log collection").await?;
    }
    dependents.follow(change).await?;
    let id = new.row.id;
    change.audit(Kind::LogCollection.name(), id, record(&old.spec)?, record(&new.spec)?);
    Ok(view(new))
}

pub async fn delete(cx: &Cx, cluster: Id, id: Id) -> Result<Written<()>> {
    object::edit(cx, cluster, cluster, id, move |change, old: Stored<LogCollectionSpec>| {
        Box::pin(async move {
            dependents::refuse_in_use(change, id, "log collection", &old.spec.name).await?;
            resource::delete(change.tx, id).await?;
            change.audit(Kind::LogCollection.name(), id, record(&old.spec)?, None);
            Ok(())
        })
    })
    .await
}

/// One spelling for each meaning: the older `broker_list` becomes `brokers`.
fn normalized(mut spec: LogCollectionSpec) -> LogCollectionSpec {
    let is_older = spec.kind == LoggerType::KafkaLogger && !spec.spec.contains_key("brokers");
    if is_older && let Some(Value::Object(list)) = spec.spec.remove("broker_list") {
        let brokers = list.into_iter().map(|(host, port)| json!({ "host": host, "port": port }));
        spec.spec.insert("brokers".into(), brokers.collect());
    }
    spec
}

/// The plugin that a log collection needs on gateways.
fn as_plugin(spec: &LogCollectionSpec) -> Plugins {
    Plugins::from_iter([(spec.kind.plugin().to_owned(), spec.spec.clone().into())])
}

fn record(spec: &LogCollectionSpec) -> Result<Option<Value>> {
    check::json(&masked(spec.clone())).map(mask::document).map(Some)
}

fn masked(mut spec: LogCollectionSpec) -> LogCollectionSpec {
    mask::plugin(spec.kind.plugin(), &mut spec.spec);
    spec
}

fn view(stored: Stored<LogCollectionSpec>) -> LogCollection {
    let Stored { row, spec } = stored;
    LogCollection {
        id: row.id,
        cluster_id: row.cluster_id,
        status: STATUS_READY,
        created_at: row.created_at,
        updated_at: row.updated_at,
        spec: masked(spec),
    }
}
