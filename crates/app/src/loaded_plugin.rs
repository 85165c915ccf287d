//! Which plugins may be used in a cluster: loading, unloading, and metadata.
//!
//! What gateways start with is loaded without a record; a record holds what somebody decided.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::config::{
    LoadedPlugin, PluginLoad, PluginMetadataUpdate, PluginState, PluginStates,
};
use gantry_model::{Direction, Error, Id, ListQuery, Page, Result, Timestamp};
use gantry_routing::plugin;
use gantry_store::loaded_plugin::{self, LoadedPluginRow};
use gantry_store::{Tx, cluster};
use gantry_translate::{NEEDED, is_loaded};
use serde_json::{Map, Value, json};

use crate::change::{Change, change};
use crate::plugin_reference::refuse_used;
use crate::{App, Cx, Written, check, mask, plan};

/// Name of the kind in the audit.
const KIND: &str = "loaded_plugin";

/// A record, opened.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) row: LoadedPluginRow,
    metadata: Map<String, Value>,
}

/// All records of a cluster, by name of the plugin.
pub(crate) type Records = BTreeMap<String, Record>;

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<LoadedPlugin>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let records = records(&cx.app, &mut tx, cluster).await?;
    let since = since(&mut tx, cluster).await?;
    let wanted = query.search.to_lowercase();
    let mut list: Vec<LoadedPlugin> = loaded(&records, since)
        .filter(|record| record.row.name.contains(&wanted))
        .map(view)
        .collect();
    let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
    let by_creation = query.order_by.as_deref() == Some("created_at");
    list.sort_by_cached_key(|one| {
        (if by_creation { one.created_at } else { one.updated_at }, one.name.clone())
    });
    if query.direction == Direction::Desc {
        list.reverse();
    }
    let skipped = usize::try_from(query.offset()).unwrap_or(usize::MAX);
    let taken = usize::try_from(query.limit()).unwrap_or(usize::MAX);
    Ok(Page { list: list.into_iter().skip(skipped).take(taken).collect(), count })
}

/// Loads a plugin that gateways do not start with, or one that was unloaded.
pub async fn load(cx: &Cx, cluster: Id, sent: PluginLoad) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let PluginLoad { name, plugin_management_id, category, metadata } = sent;
            let Some(known) = plugin::get(&name) else {
                let rule = "must be the name of a plugin from GET /orgs/{id}/plugins";
                return Err(Error::invalid_field("name", rule, "\"error-page\""));
            };
            let records = records(&change.app, change.tx, cluster).await?;
            if is_loaded(&states(&records), &name) {
                return Err(Error::conflict(format!(
                    "the plugin `{name}` is loaded in this cluster already; PUT changes its \
                     metadata"
                )));
            }
            check::refuse(&gantry_translate::check_plugin_metadata(&name, &metadata))?;
            let (app, org) = (change.app.clone(), change.cluster.org_id);
            let loading = [("name".to_owned(), [name.as_str(), name.as_str()])];
            plan::refuse_excluded(&app, change.tx, org, loading).await?;
            let or = |sent: String, default: &str| match sent.as_str() {
                "" => default.to_owned(),
                _ => sent,
            };
            let row = LoadedPluginRow {
                management_id: management_id(&name, plugin_management_id)?,
                category: or(category, &known.category),
                loaded: Some(true),
                metadata_sealed: String::new(),
                created_at: change.now,
                updated_at: change.now,
                name,
            };
            save(change, records, None, Record { row, metadata }).await
        })
    })
    .await
}

/// The id a record shall have: it must not read as the id of another plugin.
fn management_id(name: &str, sent: String) -> Result<String> {
    if sent.is_empty() {
        return Ok(name.to_owned());
    }
    if sent != name && plugin::get(&sent).is_some() {
        let rule = "must not be the name of another plugin; left out, it is the plugin's own name";
        return Err(Error::invalid_field("plugin_management_id", rule, format!("\"{name}\"")));
    }
    Ok(sent)
}

/// Changes the metadata of a loaded plugin; a mask in it keeps the stored secret.
pub async fn update(
    cx: &Cx,
    cluster: Id,
    id: String,
    sent: PluginMetadataUpdate,
) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let records = records(&change.app, change.tx, cluster).await?;
            let old = find(&records, change.cluster.created_at, &id)?;
            let Some(mut metadata) = sent.metadata else { return Ok(()) };
            mask::restore(&mut metadata, &old.metadata);
            check::refuse(&gantry_translate::check_plugin_metadata(&old.row.name, &metadata))?;
            let row = LoadedPluginRow { updated_at: change.now, ..old.row.clone() };
            save(change, records, Some(&old), Record { row, metadata }).await
        })
    })
    .await
}

/// Unloads a plugin that nothing uses; its metadata goes too.
pub async fn unload(cx: &Cx, cluster: Id, id: String) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let records = records(&change.app, change.tx, cluster).await?;
            let old = find(&records, change.cluster.created_at, &id)?;
            let name = old.row.name.clone();
            if NEEDED.contains(&name.as_str()) {
                return Err(Error::in_use(format!(
                    "the plugin `{name}` cannot be unloaded: settings of clusters, applications \
                     and APIs are carried out by it"
                )));
            }
            refuse_used(change, &name).await?;
            let row = LoadedPluginRow {
                management_id: name,
                loaded: Some(false),
                updated_at: change.now,
                ..old.row.clone()
            };
            save(change, records, Some(&old), Record { row, metadata: Map::new() }).await
        })
    })
    .await
}

/// Notes that plugins are loaded which were in use before plugins could be loaded, or which the
/// gateways of an older Gantry started with.
pub(crate) async fn load_used(
    change: &mut Change<'_>,
    used: &BTreeSet<String>,
) -> Result<PluginStates> {
    let mut records = records(&change.app, change.tx, change.cluster.id).await?;
    for name in used {
        let missing = plugin::get(name).filter(|_| !is_loaded(&states(&records), name));
        let Some(known) = missing else { continue };
        let mut record = from_the_start(known, change.now);
        record.row.loaded = Some(true);
        save(change, records.clone(), None, record.clone()).await?;
        records.insert(name.clone(), record);
    }
    Ok(states(&records))
}

/// Stores a record and notes what it changes.
async fn save(
    change: &mut Change<'_>,
    mut records: Records,
    old: Option<&Record>,
    new: Record,
) -> Result<()> {
    let cluster = change.cluster.id;
    let before = gantry_translate::loaded_plugins(&states(&records));
    let name = new.row.name.clone();
    let sealed = change.app.sealer.seal_json(&place(cluster, &name), &new.metadata)?;
    let row = LoadedPluginRow { metadata_sealed: sealed, ..new.row.clone() };
    loaded_plugin::put(change.tx, cluster, &row).await?;
    let audited = (old.map(audited), Some(audited(&new)));
    change.audit(KIND, &name, audited.0, audited.1);
    records.insert(name, new);
    change.keys(before, gantry_translate::loaded_plugins(&states(&records)));
    Ok(())
}

fn audited(record: &Record) -> Value {
    let metadata = mask::metadata(&record.row.name, record.metadata.clone());
    json!({ "name": record.row.name, "loaded": record.row.loaded, "metadata": metadata })
}

fn place(cluster: Id, name: &str) -> String {
    format!("cluster/{cluster}/plugin_metadata/{name}")
}

pub(crate) async fn records(app: &App, tx: &mut Tx, cluster: Id) -> Result<Records> {
    let mut records = Records::new();
    for row in loaded_plugin::all(tx, cluster).await? {
        let metadata = app.sealer.open_json(&place(cluster, &row.name), &row.metadata_sealed)?;
        records.insert(row.name.clone(), Record { row, metadata });
    }
    Ok(records)
}

/// What the translation has to know.
pub(crate) fn states(records: &Records) -> PluginStates {
    let state = |record: &Record| PluginState {
        loaded: record.row.loaded,
        metadata: record.metadata.clone(),
    };
    records.iter().map(|(name, record)| (name.clone(), state(record))).collect()
}

/// When plugins without a record were loaded: with their cluster.
pub(crate) async fn since(tx: &mut Tx, cluster: Id) -> Result<Timestamp> {
    let row = cluster::find(tx, cluster).await?.ok_or_else(|| Error::not_found("cluster"))?;
    Ok(row.created_at)
}

/// The loaded plugin whose record has this id.
pub(crate) fn find(records: &Records, since: Timestamp, id: &str) -> Result<Record> {
    let found = loaded(records, since).find(|record| record.row.management_id == id);
    found.ok_or_else(|| Error::not_found("loaded plugin"))
}

fn loaded(records: &Records, since: Timestamp) -> impl Iterator<Item = Record> {
    let states = states(records);
    plugin::all().filter(move |known| is_loaded(&states, &known.name)).map(move |known| {
        records.get(&known.name).cloned().unwrap_or_else(|| from_the_start(known, since))
    })
}

fn from_the_start(known: &plugin::Plugin, since: Timestamp) -> Record {
    let row = LoadedPluginRow {
        name: known.name.clone(),
        management_id: known.name.clone(),
        category: known.category.clone(),
        loaded: None,
        metadata_sealed: String::new(),
        created_at: since,
        updated_at: since,
    };
    Record { row, metadata: Map::new() }
}

fn view(record: Record) -> LoadedPlugin {
    let Record { row, metadata } = record;
    LoadedPlugin {
        metadata: mask::metadata(&row.name, metadata),
        plugin_management_id: row.management_id,
        name: row.name,
        category: row.category,
        created_at: row.created_at,
        updated_at: row.updated_at,
    }
}
