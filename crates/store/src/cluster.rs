//! Clusters and the counter of their configuration revisions.

use gantry_model::page::folded;
use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

/// A row of `clusters`; `settings_sealed` and `plugins_sealed` are opaque here.
#[derive(Clone, Debug)]
pub struct ClusterRow {
    pub id: Id,
    pub org_id: Id,
    pub org_name: String,
    pub region_id: Id,
    pub name: String,
    pub domain: String,
    pub settings_sealed: String,
    pub plugins_sealed: String,
    /// Newest revision.
    pub config_version: i64,
    /// Oldest revision whose state is still known.
    pub compacted_revision: i64,
    /// Digest of the key space at `config_version`, as text.
    pub digest: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn cluster(row: &Row) -> Result<ClusterRow> {
    Ok(ClusterRow {
        id: row.id("id")?,
        org_id: row.id("org_id")?,
        org_name: row.text("org_name")?,
        region_id: row.id("region_id")?,
        name: row.text("name")?,
        domain: row.text("domain")?,
        settings_sealed: row.text("settings_sealed")?,
        plugins_sealed: row.text("plugins_sealed")?,
        config_version: row.int("config_version")?,
        compacted_revision: row.int("compacted_revision")?,
        digest: row.text("digest")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

const OF_ORGANIZATION: &str = "t.org_id = $1";
const OF_MEMBER: &str = "t.org_id = $1 AND (
    t.id IN (SELECT b.cluster_id FROM role_bindings b WHERE b.member_id = $2)
    OR t.id IN (SELECT s.cluster_id FROM service_admins s WHERE s.member_id = $2))";

/// One page of an organization's clusters; with a member, those in which the member has a role or
/// looks after an application.
pub async fn list(
    tx: &mut Tx,
    org: Id,
    member: Option<Id>,
    query: &ListQuery,
) -> Result<(Vec<ClusterRow>, i64)> {
    let list = List {
        columns: "t.*, o.name AS org_name",
        from: "clusters t JOIN organizations o ON o.id = t.org_id",
        scope: if member.is_some() { OF_MEMBER } else { OF_ORGANIZATION },
        orders: &[
            ("updated_at", "t.updated_at"),
            ("created_at", "t.created_at"),
            ("name", "t.name"),
            ("id", "t.id"),
        ],
    };
    let scope = member.map_or_else(|| vals![org], |member| vals![org, member]);
    let (rows, count) = list::page(tx, &list, scope, query).await?;
    Ok((rows.iter().map(cluster).collect::<Result<_>>()?, count))
}

/// Ids of an organization's clusters.
pub async fn of_organization(tx: &mut Tx, org: Id) -> Result<Vec<Id>> {
    let rows = tx.all("SELECT id FROM clusters WHERE org_id = $1 ORDER BY id", vals![org]).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

pub async fn find(tx: &mut Tx, id: Id) -> Result<Option<ClusterRow>> {
    let row = tx
        .row(
            "SELECT t.*, o.name AS org_name FROM clusters t
             JOIN organizations o ON o.id = t.org_id WHERE t.id = $1",
            vals![id],
        )
        .await?;
    row.as_ref().map(cluster).transpose()
}

/// The cluster's row, held by this transaction until it ends: whoever has it takes the next
/// revision.
pub async fn lock(tx: &mut Tx, id: Id) -> Result<Option<ClusterRow>> {
    let row = tx
        .row(
            "UPDATE clusters SET config_version = config_version WHERE id = $1 RETURNING *,
                 (SELECT o.name FROM organizations o WHERE o.id = clusters.org_id) AS org_name",
            vals![id],
        )
        .await?;
    row.as_ref().map(cluster).transpose()
}

/// Ids of all clusters.
pub async fn ids(tx: &mut Tx) -> Result<Vec<Id>> {
    let rows = tx.all("SELECT id FROM clusters ORDER BY id", vals![]).await?;
    rows.iter().map(|row| row.id("id")).collect()
}

/// Domains of all clusters, for the server's certificate.
pub async fn domains(tx: &mut Tx) -> Result<Vec<String>> {
    let rows = tx.all("SELECT domain FROM clusters ORDER BY id", vals![]).await?;
    rows.iter().map(|row| row.text("domain")).collect()
}

pub async fn insert(tx: &mut Tx, cluster: &ClusterRow) -> Result<()> {
    tx.run(
        "INSERT INTO clusters (id, org_id, region_id, name, domain, search_text, settings_sealed,
             plugins_sealed, config_version, compacted_revision, digest, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        vals![
            cluster.id,
            cluster.org_id,
            cluster.region_id,
            &cluster.name,
            &cluster.domain,
            folded(&cluster.name),
            &cluster.settings_sealed,
            &cluster.plugins_sealed,
            cluster.config_version,
            cluster.compacted_revision,
            &cluster.digest,
            cluster.created_at,
            cluster.updated_at,
        ],
    )
    .await?;
    Ok(())
}

pub async fn set_settings(tx: &mut Tx, id: Id, sealed: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE clusters SET settings_sealed = $2, updated_at = $3 WHERE id = $1",
        vals![id, sealed, now],
    )
    .await?;
    Ok(())
}

pub async fn set_plugins(tx: &mut Tx, id: Id, sealed: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE clusters SET plugins_sealed = $2, updated_at = $3 WHERE id = $1",
        vals![id, sealed, now],
    )
    .await?;
    Ok(())
}
