//! Alerts that were sent.

use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

/// A row of `alert_histories`.
#[derive(Clone, Debug)]
pub struct AlertHistoryRow {
    pub id: Id,
    pub cluster_id: Id,
    /// What a search looks at, in lower case.
    pub search_text: String,
    pub delivery_sealed: String,
    pub created_at: Timestamp,
}

fn history(row: &Row) -> Result<AlertHistoryRow> {
    Ok(AlertHistoryRow {
        id: row.id("id")?,
        cluster_id: row.id("cluster_id")?,
        search_text: row.text("search_text")?,
        delivery_sealed: row.text("delivery_sealed")?,
        created_at: row.time("created_at")?,
    })
}

/// One page of a cluster's history. Entries never change: both orders of the contract are one.
pub async fn list(
    tx: &mut Tx,
    cluster: Id,
    query: &ListQuery,
) -> Result<(Vec<AlertHistoryRow>, i64)> {
    let list = List {
        columns: "t.*",
        from: "alert_histories t",
        scope: "t.cluster_id = $1",
        orders: &[("updated_at", "t.created_at"), ("created_at", "t.created_at")],
    };
    let (rows, count) = list::page(tx, &list, vals![cluster], query).await?;
    Ok((rows.iter().map(history).collect::<Result<_>>()?, count))
}

pub async fn find(tx: &mut Tx, cluster: Id, id: Id) -> Result<Option<AlertHistoryRow>> {
    let row = tx
        .row("SELECT * FROM alert_histories WHERE id = $1 AND cluster_id = $2", vals![id, cluster])
        .await?;
    row.as_ref().map(history).transpose()
}

pub async fn insert(tx: &mut Tx, row: &AlertHistoryRow) -> Result<()> {
    tx.run(
        "INSERT INTO alert_histories (id, cluster_id, search_text, delivery_sealed, created_at)
         VALUES ($1, $2, $3, $4, $5)",
        vals![row.id, row.cluster_id, &row.search_text, &row.delivery_sealed, row.created_at],
    )
    .await?;
    Ok(())
}

/// Forgets what was sent before `time`.
pub async fn purge(tx: &mut Tx, time: Timestamp) -> Result<()> {
    tx.run("DELETE FROM alert_histories WHERE created_at < $1", vals![time]).await?;
    Ok(())
}
