//! Where a plugin is used.

use gantry_model::config::{NamedRef, PluginReference};
use gantry_model::page::PAGE_SIZE_MAX;
use gantry_model::{Error, Id, Result};
use gantry_store::cluster::{self, ClusterRow};
use gantry_store::{Tx, loaded_plugin};

use crate::change::Change;
use crate::{App, Cx};

/// Uses that a refusal names.
const NAMED_MAX: usize = 5;

/// Where a loaded plugin is used; `id` is that of its record.
pub async fn get(cx: &Cx, cluster: Id, id: &str) -> Result<PluginReference> {
    let mut tx = cx.app.db.snapshot().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let row = cluster::find(&mut tx, cluster).await?;
    let row = row.ok_or_else(|| Error::not_found("cluster"))?;
    let records = crate::loaded_plugin::records(&cx.app, &mut tx, cluster).await?;
    let record = crate::loaded_plugin::find(&records, row.created_at, id)?;
    references(&cx.app, &mut tx, &row, &record.row.name, PAGE_SIZE_MAX.into()).await
}

/// Refuses to take away a plugin that something uses.
pub(crate) async fn refuse_used(change: &mut Change<'_>, name: &str) -> Result<()> {
    let row = change.cluster.clone();
    let named = i64::try_from(NAMED_MAX).unwrap_or(i64::MAX);
    let found = references(&change.app.clone(), change.tx, &row, name, named).await?;
    if found.count == 0 {
        return Ok(());
    }
    let mut users = Vec::new();
    if found.cluster {
        users.push("all traffic of the cluster".to_owned());
    }
    for (noun, list) in [
        ("application", &found.applications),
        ("API", &found.apis),
        ("consumer", &found.consumers),
        ("log collection", &found.log_collections),
    ] {
        users.extend(list.iter().map(|one| format!("{noun} `{}` ({})", one.name, one.id)));
    }
    users.truncate(NAMED_MAX);
    let others = found.count - i64::try_from(users.len()).unwrap_or(i64::MAX);
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    Err(Error::in_use(format!(
        "the plugin `{name}` is used by {}{more}: remove it there first",
        users.join(", ")
    )))
}

async fn references(
    app: &App,
    tx: &mut Tx,
    row: &ClusterRow,
    name: &str,
    limit: i64,
) -> Result<PluginReference> {
    let (_, plugins) = crate::cluster::opened(app, row)?;
    let cluster = gantry_translate::uses(&plugins).iter().any(|one| one.name == name);
    let mut found = PluginReference { cluster, count: i64::from(cluster), ..Default::default() };
    for (kind, count) in loaded_plugin::user_counts(tx, row.id, name).await? {
        found.count += count;
        let users = loaded_plugin::users(tx, row.id, name, &kind, limit).await?;
        let list = match kind.as_str() {
            "application" => &mut found.applications,
            "api" => &mut found.apis,
            "consumer" => &mut found.consumers,
            _ => &mut found.log_collections,
        };
        list.extend(users.into_iter().map(|(id, name)| NamedRef { id, name }));
    }
    Ok(found)
}
