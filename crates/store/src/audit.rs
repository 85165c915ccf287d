//! Who changed what, in ledgers. `before` and `after` arrive masked and sealed, the hashes made.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};

/// A row of `audit`.
#[derive(Clone, Debug)]
pub struct AuditRow {
    pub id: Id,
    pub org_id: Option<Id>,
    pub cluster_id: Option<Id>,
    pub created_at: Timestamp,
    pub actor: String,
    pub operation: String,
    pub request_id: String,
    pub object_kind: String,
    pub object_id: String,
    /// Configuration revision of the same transaction, if gateways see the change.
    pub revision: Option<i64>,
    pub before_sealed: Option<String>,
    pub after_sealed: Option<String>,
    /// The chain this entry is part of, such as `cluster/7`.
    pub ledger: String,
    /// Position in the ledger, from 1.
    pub seq: i64,
    /// Over this entry and the hash before it.
    pub hash: String,
}

/// The newest entry of a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub seq: i64,
    /// Empty while there is no entry.
    pub hash: String,
}

fn audit(row: &Row) -> Result<AuditRow> {
    Ok(AuditRow {
        id: row.id("id")?,
        org_id: row.int_or_null("org_id")?.and_then(Id::new),
        cluster_id: row.int_or_null("cluster_id")?.and_then(Id::new),
        created_at: row.time("created_at")?,
        actor: row.text("actor")?,
        operation: row.text("operation")?,
        request_id: row.text("request_id")?,
        object_kind: row.text("object_kind")?,
        object_id: row.text("object_id")?,
        revision: row.int_or_null("revision")?,
        before_sealed: row.text_or_null("before_sealed")?,
        after_sealed: row.text_or_null("after_sealed")?,
        ledger: row.text("ledger")?,
        seq: row.int("seq")?,
        hash: row.text("hash")?,
    })
}

pub async fn insert(tx: &mut Tx, entry: &AuditRow) -> Result<()> {
    tx.run(
        "INSERT INTO audit (id, org_id, cluster_id, created_at, actor, operation, request_id,
             object_kind, object_id, revision, before_sealed, after_sealed, ledger, seq, hash)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
        vals![
            entry.id,
            entry.org_id,
            entry.cluster_id,
            entry.created_at,
            &entry.actor,
            &entry.operation,
            &entry.request_id,
            &entry.object_kind,
            &entry.object_id,
            entry.revision,
            entry.before_sealed.as_deref(),
            entry.after_sealed.as_deref(),
            &entry.ledger,
            entry.seq,
            &entry.hash,
        ],
    )
    .await?;
    Ok(())
}

/// The head of a ledger, held by this transaction until it ends: whoever has it writes the next
/// entries.
pub async fn lock_head(tx: &mut Tx, ledger: &str) -> Result<Head> {
    let row = tx
        .row(
            "INSERT INTO audit_heads (ledger, seq, hash) VALUES ($1, 0, '')
             ON CONFLICT (ledger) DO UPDATE SET seq = audit_heads.seq RETURNING seq, hash",
            vals![ledger],
        )
        .await?;
    row.as_ref().map_or_else(|| Ok(Head::default()), head)
}

pub async fn set_head(tx: &mut Tx, ledger: &str, head: &Head) -> Result<()> {
    tx.run(
        "UPDATE audit_heads SET seq = $2, hash = $3 WHERE ledger = $1",
        vals![ledger, head.seq, &head.hash],
    )
    .await?;
    Ok(())
}

/// Every ledger with its head, by name.
pub async fn heads(tx: &mut Tx) -> Result<Vec<(String, Head)>> {
    let rows = tx.all("SELECT ledger, seq, hash FROM audit_heads ORDER BY ledger", vals![]).await?;
    rows.iter().map(|row| Ok((row.text("ledger")?, head(row)?))).collect()
}

/// Number of entries in a ledger.
pub async fn count(tx: &mut Tx, ledger: &str) -> Result<i64> {
    let row =
        tx.row("SELECT COUNT(*) AS entries FROM audit WHERE ledger = $1", vals![ledger]).await?;
    row.map_or(Ok(0), |row| row.int("entries"))
}

/// Ids of the objects that a ledger's entries are about.
pub async fn objects(tx: &mut Tx, ledger: &str) -> Result<Vec<String>> {
    let rows =
        tx.all("SELECT object_id FROM audit WHERE ledger = $1 ORDER BY seq", vals![ledger]).await?;
    rows.iter().map(|row| row.text("object_id")).collect()
}

/// Ledgers that have entries and no head.
pub async fn orphans(tx: &mut Tx) -> Result<Vec<String>> {
    let rows = tx
        .all(
            "SELECT DISTINCT a.ledger AS ledger FROM audit a
             LEFT JOIN audit_heads h ON h.ledger = a.ledger
             WHERE a.ledger <> '' AND h.ledger IS NULL ORDER BY a.ledger",
            vals![],
        )
        .await?;
    rows.iter().map(|row| row.text("ledger")).collect()
}

fn head(row: &Row) -> Result<Head> {
    Ok(Head { seq: row.int("seq")?, hash: row.text("hash")? })
}

/// Up to `limit` entries of a ledger after the one at position `seq`, oldest first.
pub async fn after(tx: &mut Tx, ledger: &str, seq: i64, limit: i64) -> Result<Vec<AuditRow>> {
    let rows = tx
        .all(
            "SELECT * FROM audit WHERE ledger = $1 AND seq > $2 ORDER BY seq, id LIMIT $3",
            vals![ledger, seq, limit],
        )
        .await?;
    rows.iter().map(audit).collect()
}

/// Entries about a cluster, newest first.
pub async fn newest(tx: &mut Tx, cluster: Id, limit: i64) -> Result<Vec<AuditRow>> {
    let rows = tx
        .all(
            "SELECT * FROM audit WHERE cluster_id = $1 ORDER BY id DESC LIMIT $2",
            vals![cluster, limit],
        )
        .await?;
    rows.iter().map(audit).collect()
}
