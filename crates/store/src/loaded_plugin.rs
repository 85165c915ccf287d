//! What was decided about plugins in a cluster, and which resources use which plugin.

use std::collections::BTreeMap;

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::resource::ResourceRow;

/// A row of `loaded_plugins`.
#[derive(Clone, Debug)]
pub struct LoadedPluginRow {
    pub name: String,
    /// Unique in the cluster.
    pub management_id: String,
    pub category: String,
    /// `None` if the plugin was neither loaded nor unloaded.
    pub loaded: Option<bool>,
    pub metadata_sealed: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn loaded_plugin(row: &Row) -> Result<LoadedPluginRow> {
    Ok(LoadedPluginRow {
        name: row.text("name")?,
        management_id: row.text("management_id")?,
        category: row.text("category")?,
        loaded: row.int_or_null("loaded")?.map(|loaded| loaded != 0),
        metadata_sealed: row.text("metadata_sealed")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// All rows of a cluster, by name; there are at most as many as plugins.
pub async fn all(tx: &mut Tx, cluster: Id) -> Result<Vec<LoadedPluginRow>> {
    let rows = tx
        .all("SELECT * FROM loaded_plugins WHERE cluster_id = $1 ORDER BY name", vals![cluster])
        .await?;
    rows.iter().map(loaded_plugin).collect()
}

/// Inserts the row, or replaces the one of the same name except for its time of creation.
pub async fn put(tx: &mut Tx, cluster: Id, row: &LoadedPluginRow) -> Result<()> {
    tx.run(
        "INSERT INTO loaded_plugins (cluster_id, name, management_id, category, loaded,
             metadata_sealed, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (cluster_id, name) DO UPDATE SET management_id = excluded.management_id,
             category = excluded.category, loaded = excluded.loaded,
             metadata_sealed = excluded.metadata_sealed, updated_at = excluded.updated_at",
        vals![
            cluster,
            &row.name,
            &row.management_id,
            &row.category,
            row.loaded.map(i64::from),
            &row.metadata_sealed,
            row.created_at,
            row.updated_at,
        ],
    )
    .await?;
    Ok(())
}

/// Makes `plugins` what a resource uses.
pub async fn set_uses(tx: &mut Tx, row: &ResourceRow, plugins: &[String]) -> Result<()> {
    tx.run("DELETE FROM plugin_uses WHERE resource_id = $1", vals![row.id]).await?;
    for plugin in plugins {
        tx.run(
            "INSERT INTO plugin_uses (resource_id, plugin, cluster_id, kind)
             VALUES ($1, $2, $3, $4) ON CONFLICT (resource_id, plugin) DO NOTHING",
            vals![row.id, plugin, row.cluster_id, row.kind.name()],
        )
        .await?;
    }
    Ok(())
}

/// What each resource of a cluster uses, sorted.
pub async fn uses(tx: &mut Tx, cluster: Id) -> Result<BTreeMap<Id, Vec<String>>> {
    let rows = tx
        .all(
            "SELECT resource_id, plugin FROM plugin_uses WHERE cluster_id = $1
             ORDER BY resource_id, plugin",
            vals![cluster],
        )
        .await?;
    let mut uses: BTreeMap<Id, Vec<String>> = BTreeMap::new();
    for row in rows {
        uses.entry(row.id("resource_id")?).or_default().push(row.text("plugin")?);
    }
    Ok(uses)
}

/// How many resources of each kind use a plugin.
pub async fn user_counts(tx: &mut Tx, cluster: Id, plugin: &str) -> Result<Vec<(String, i64)>> {
    let rows = tx
        .all(
            "SELECT kind, COUNT(*) AS users FROM plugin_uses
             WHERE cluster_id = $1 AND plugin = $2 GROUP BY kind ORDER BY kind",
            vals![cluster, plugin],
        )
        .await?;
    rows.iter().map(|row| Ok((row.text("kind")?, row.int("users")?))).collect()
}

/// Id and name of the first `limit` resources of a kind that use a plugin.
pub async fn users(
    tx: &mut Tx,
    cluster: Id,
    plugin: &str,
    kind: &str,
    limit: i64,
) -> Result<Vec<(Id, String)>> {
    let rows = tx
        .all(
            "SELECT r.id, COALESCE(r.name, '') AS name FROM plugin_uses u
             JOIN resources r ON r.id = u.resource_id
             WHERE u.cluster_id = $1 AND u.plugin = $2 AND u.kind = $3
             ORDER BY u.resource_id LIMIT $4",
            vals![cluster, plugin, kind, limit],
        )
        .await?;
    rows.iter().map(|row| Ok((row.id("id")?, row.text("name")?))).collect()
}
