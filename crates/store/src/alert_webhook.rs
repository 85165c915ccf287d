//! Webhooks of alert policies.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, Sql, placeholders, vals};
use crate::list;

/// A row of `alert_webhooks`.
#[derive(Clone, Debug)]
pub struct WebhookRow {
    pub id: Id,
    pub policy_id: Id,
    /// Unique in the policy.
    pub name: String,
    pub spec_sealed: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn webhook(row: &Row) -> Result<WebhookRow> {
    Ok(WebhookRow {
        id: row.id("id")?,
        policy_id: row.id("policy_id")?,
        name: row.text("name")?,
        spec_sealed: row.text("spec_sealed")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// The webhooks of some policies, oldest first.
pub async fn of_policies(tx: &mut Tx, policies: &[Id]) -> Result<Vec<WebhookRow>> {
    if policies.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT * FROM alert_webhooks WHERE policy_id IN ({}) ORDER BY created_at, id",
        placeholders(1, policies.len())
    );
    let rows = tx.all(Sql::assembled(sql), list::ids(policies)).await?;
    rows.iter().map(webhook).collect()
}

pub async fn find(tx: &mut Tx, policy: Id, id: Id) -> Result<Option<WebhookRow>> {
    let row = tx
        .row("SELECT * FROM alert_webhooks WHERE id = $1 AND policy_id = $2", vals![id, policy])
        .await?;
    row.as_ref().map(webhook).transpose()
}

pub async fn insert(tx: &mut Tx, row: &WebhookRow) -> Result<()> {
    tx.run(
        "INSERT INTO alert_webhooks (id, policy_id, name, spec_sealed, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        vals![row.id, row.policy_id, &row.name, &row.spec_sealed, row.created_at, row.updated_at],
    )
    .await?;
    Ok(())
}

/// Replaces everything but id, policy and time of creation.
pub async fn update(tx: &mut Tx, row: &WebhookRow) -> Result<()> {
    tx.run(
        "UPDATE alert_webhooks SET name = $2, spec_sealed = $3, updated_at = $4 WHERE id = $1",
        vals![row.id, &row.name, &row.spec_sealed, row.updated_at],
    )
    .await?;
    Ok(())
}

pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM alert_webhooks WHERE id = $1", vals![id]).await?;
    Ok(())
}
