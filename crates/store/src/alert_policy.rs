//! Alert policies of clusters.

use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

/// A row of `alert_policies`.
#[derive(Clone, Debug)]
pub struct AlertPolicyRow {
    pub id: Id,
    pub cluster_id: Id,
    /// Unique in the cluster.
    pub name: String,
    pub disabled: bool,
    /// What a search looks at, in lower case.
    pub search_text: String,
    pub spec_sealed: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn policy(row: &Row) -> Result<AlertPolicyRow> {
    Ok(AlertPolicyRow {
        id: row.id("id")?,
        cluster_id: row.id("cluster_id")?,
        name: row.text("name")?,
        disabled: row.int("disabled")? != 0,
        search_text: row.text("search_text")?,
        spec_sealed: row.text("spec_sealed")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// One page of a cluster's policies.
pub async fn list(
    tx: &mut Tx,
    cluster: Id,
    query: &ListQuery,
) -> Result<(Vec<AlertPolicyRow>, i64)> {
    let list = List {
        columns: "t.*",
        from: "alert_policies t",
        scope: "t.cluster_id = $1",
        orders: &[("updated_at", "t.updated_at"), ("created_at", "t.created_at")],
    };
    let (rows, count) = list::page(tx, &list, vals![cluster], query).await?;
    Ok((rows.iter().map(policy).collect::<Result<_>>()?, count))
}

pub async fn find(tx: &mut Tx, cluster: Id, id: Id) -> Result<Option<AlertPolicyRow>> {
    let row = tx
        .row("SELECT * FROM alert_policies WHERE id = $1 AND cluster_id = $2", vals![id, cluster])
        .await?;
    row.as_ref().map(policy).transpose()
}

pub async fn insert(tx: &mut Tx, row: &AlertPolicyRow) -> Result<()> {
    tx.run(
        "INSERT INTO alert_policies (id, cluster_id, name, disabled, search_text, spec_sealed,
             created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        vals![
            row.id,
            row.cluster_id,
            &row.name,
            i64::from(row.disabled),
            &row.search_text,
            &row.spec_sealed,
            row.created_at,
            row.updated_at,
        ],
    )
    .await?;
    Ok(())
}

/// Replaces everything but id, cluster, name and time of creation.
pub async fn update(tx: &mut Tx, row: &AlertPolicyRow) -> Result<()> {
    tx.run(
        "UPDATE alert_policies SET disabled = $2, search_text = $3, spec_sealed = $4,
             updated_at = $5 WHERE id = $1",
        vals![row.id, i64::from(row.disabled), &row.search_text, &row.spec_sealed, row.updated_at,],
    )
    .await?;
    Ok(())
}

/// Removes a policy with its webhooks.
pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM alert_policies WHERE id = $1", vals![id]).await?;
    Ok(())
}
