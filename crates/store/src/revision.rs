//! The log of configuration revisions and the key space it adds up to. Values arrive sealed.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, Sql, Val, placeholders, vals};

/// Keys looked up by one statement.
const KEYS_AT_ONCE: usize = 500;

/// A row of `config_keys`: what an etcd range answers.
#[derive(Clone, Debug)]
pub struct KeyRow {
    pub key: String,
    pub value_sealed: String,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

/// A row of `revision_changes`; without a value the key was deleted.
#[derive(Clone, Debug)]
pub struct ChangeRow {
    pub revision: i64,
    pub key: String,
    pub value_sealed: Option<String>,
    pub create_revision: i64,
    pub version: i64,
}

/// A row of `revisions`.
#[derive(Clone, Debug)]
pub struct RevisionRow {
    pub cluster_id: Id,
    pub revision: i64,
    pub created_at: Timestamp,
    pub actor: String,
    pub operation: String,
    /// Of the key space at this revision, as text; empty where it was not kept.
    pub digest: String,
}

fn key(row: &Row) -> Result<KeyRow> {
    Ok(KeyRow {
        key: row.text("key")?,
        value_sealed: row.text("value_sealed")?,
        create_revision: row.int("create_revision")?,
        mod_revision: row.int("mod_revision")?,
        version: row.int("version")?,
    })
}

fn revision_row(row: &Row) -> Result<RevisionRow> {
    Ok(RevisionRow {
        cluster_id: row.id("cluster_id")?,
        revision: row.int("revision")?,
        created_at: row.time("created_at")?,
        actor: row.text("actor")?,
        operation: row.text("operation")?,
        digest: row.text("digest")?,
    })
}

fn change(row: &Row) -> Result<ChangeRow> {
    Ok(ChangeRow {
        revision: row.int("revision")?,
        key: row.text("key")?,
        value_sealed: row.text_or_null("value_sealed")?,
        create_revision: row.int("create_revision")?,
        version: row.int("version")?,
    })
}

/// The keys from `from` up to but not including `to`, in the order of their bytes.
pub async fn range(tx: &mut Tx, cluster: Id, from: &str, to: &str) -> Result<Vec<KeyRow>> {
    let rows = tx
        .all(
            "SELECT key, value_sealed, create_revision, mod_revision, version FROM config_keys
             WHERE cluster_id = $1 AND key >= $2 AND key < $3 ORDER BY key",
            vals![cluster, from, to],
        )
        .await?;
    rows.iter().map(key).collect()
}

/// Those of `keys` that exist.
pub async fn keys(tx: &mut Tx, cluster: Id, keys: &[&str]) -> Result<Vec<KeyRow>> {
    let mut found = Vec::new();
    for some in keys.chunks(KEYS_AT_ONCE) {
        let sql = format!(
            "SELECT key, value_sealed, create_revision, mod_revision, version FROM config_keys
             WHERE cluster_id = $1 AND key IN ({}) ORDER BY key",
            placeholders(2, some.len())
        );
        let mut values = vals![cluster];
        values.extend(some.iter().map(|key| Val::from(*key)));
        for row in tx.all(Sql::assembled(sql), values).await? {
            found.push(key(&row)?);
        }
    }
    Ok(found)
}

pub async fn find(tx: &mut Tx, cluster: Id, revision: i64) -> Result<Option<RevisionRow>> {
    let row = tx
        .row(
            "SELECT * FROM revisions WHERE cluster_id = $1 AND revision = $2",
            vals![cluster, revision],
        )
        .await?;
    row.as_ref().map(revision_row).transpose()
}

/// The first revision after `after`.
pub async fn next(tx: &mut Tx, cluster: Id, after: i64) -> Result<Option<RevisionRow>> {
    let row = tx
        .row(
            "SELECT * FROM revisions WHERE cluster_id = $1 AND revision > $2
             ORDER BY revision LIMIT 1",
            vals![cluster, after],
        )
        .await?;
    row.as_ref().map(revision_row).transpose()
}

/// Writes a revision: its row, its changes in order, the keys they leave, and the cluster's counter
/// with the new digest.
pub async fn insert(tx: &mut Tx, revision: &RevisionRow, changes: &[ChangeRow]) -> Result<()> {
    let cluster = revision.cluster_id;
    tx.run(
        "INSERT INTO revisions (cluster_id, revision, created_at, actor, operation, digest)
         VALUES ($1, $2, $3, $4, $5, $6)",
        vals![
            cluster,
            revision.revision,
            revision.created_at,
            &revision.actor,
            &revision.operation,
            &revision.digest,
        ],
    )
    .await?;
    for (seq, change) in (0_i64..).zip(changes) {
        insert_change(tx, cluster, seq, change).await?;
        put_key(tx, cluster, change).await?;
    }
    tx.run(
        "UPDATE clusters SET config_version = $2, digest = $3 WHERE id = $1",
        vals![cluster, revision.revision, &revision.digest],
    )
    .await?;
    Ok(())
}

async fn insert_change(tx: &mut Tx, cluster: Id, seq: i64, change: &ChangeRow) -> Result<()> {
    tx.run(
        "INSERT INTO revision_changes
             (cluster_id, revision, seq, key, value_sealed, create_revision, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vals![
            cluster,
            change.revision,
            seq,
            &change.key,
            change.value_sealed.as_deref(),
            change.create_revision,
            change.version,
        ],
    )
    .await?;
    Ok(())
}

async fn put_key(tx: &mut Tx, cluster: Id, change: &ChangeRow) -> Result<()> {
    let Some(value) = &change.value_sealed else {
        tx.run(
            "DELETE FROM config_keys WHERE cluster_id = $1 AND key = $2",
            vals![cluster, &change.key],
        )
        .await?;
        return Ok(());
    };
    tx.run(
        "INSERT INTO config_keys
             (cluster_id, key, value_sealed, create_revision, mod_revision, version)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (cluster_id, key) DO UPDATE SET value_sealed = excluded.value_sealed,
             create_revision = excluded.create_revision, mod_revision = excluded.mod_revision,
             version = excluded.version",
        vals![cluster, &change.key, value, change.create_revision, change.revision, change.version],
    )
    .await?;
    Ok(())
}

/// Newest revision and oldest revision whose state is known.
pub async fn bounds(tx: &mut Tx, cluster: Id) -> Result<Option<(i64, i64)>> {
    let row = tx
        .row(
            "SELECT config_version, compacted_revision FROM clusters WHERE id = $1",
            vals![cluster],
        )
        .await?;
    row.map(|row| Ok((row.int("config_version")?, row.int("compacted_revision")?))).transpose()
}

/// Changes of the revisions after `after` up to `upto`, in order.
pub async fn changes(tx: &mut Tx, cluster: Id, after: i64, upto: i64) -> Result<Vec<ChangeRow>> {
    let rows = tx
        .all(
            "SELECT revision, key, value_sealed, create_revision, version FROM revision_changes
             WHERE cluster_id = $1 AND revision > $2 AND revision <= $3 ORDER BY revision, seq",
            vals![cluster, after, upto],
        )
        .await?;
    rows.iter().map(change).collect()
}

/// For each key of the range that changed up to `revision`, the last such change.
pub async fn state_at(
    tx: &mut Tx,
    cluster: Id,
    from: &str,
    to: &str,
    revision: i64,
) -> Result<Vec<ChangeRow>> {
    let rows = tx
        .all(
            "SELECT c.revision, c.key, c.value_sealed, c.create_revision, c.version
             FROM revision_changes c
             JOIN (SELECT key, MAX(revision) AS revision FROM revision_changes
                   WHERE cluster_id = $1 AND revision <= $2 AND key >= $3 AND key < $4
                   GROUP BY key) newest
               ON newest.key = c.key AND newest.revision = c.revision
             WHERE c.cluster_id = $1",
            vals![cluster, revision, from, to],
        )
        .await?;
    rows.iter().map(change).collect()
}

/// Forgets how the state at `upto` came about: revision `upto` itself and the last change of each
/// key that exists then stay, the rest goes. Returns the number of changes removed.
pub async fn compact(tx: &mut Tx, cluster: Id, upto: i64) -> Result<u64> {
    let gone = tx
        .run(
            "DELETE FROM revision_changes WHERE cluster_id = $1 AND revision < $2
               AND (value_sealed IS NULL OR EXISTS (
                   SELECT 1 FROM revision_changes newer
                   WHERE newer.cluster_id = $1 AND newer.key = revision_changes.key
                     AND newer.revision > revision_changes.revision AND newer.revision <= $2))",
            vals![cluster, upto],
        )
        .await?;
    tx.run(
        "UPDATE clusters SET compacted_revision = $2
         WHERE id = $1 AND compacted_revision < $2",
        vals![cluster, upto],
    )
    .await?;
    Ok(gone)
}
