//! Who changed what. `before` and `after` arrive masked and sealed.

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
    })
}

pub async fn insert(tx: &mut Tx, entry: &AuditRow) -> Result<()> {
    tx.run(
        "INSERT INTO audit (id, org_id, cluster_id, created_at, actor, operation, request_id,
             object_kind, object_id, revision, before_sealed, after_sealed)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
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
        ],
    )
    .await?;
    Ok(())
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
