//! Alerts that were sent or are to be sent.

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
    /// When it is to be sent, or sent again; `None` once that is over.
    pub due_at: Option<Timestamp>,
}

fn history(row: &Row) -> Result<AlertHistoryRow> {
    Ok(AlertHistoryRow {
        id: row.id("id")?,
        cluster_id: row.id("cluster_id")?,
        search_text: row.text("search_text")?,
        delivery_sealed: row.text("delivery_sealed")?,
        created_at: row.time("created_at")?,
        due_at: row.time_or_null("due_at")?,
    })
}

/// One page of a cluster's history. Entries have one time: both orders of the contract are one.
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
        "INSERT INTO alert_histories (id, cluster_id, search_text, delivery_sealed, created_at,
             due_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        vals![
            row.id,
            row.cluster_id,
            &row.search_text,
            &row.delivery_sealed,
            row.created_at,
            row.due_at,
        ],
    )
    .await?;
    Ok(())
}

/// What is to be sent by now, the most overdue first, and of one cluster `of_cluster` entries at most.
pub async fn due(
    tx: &mut Tx,
    now: Timestamp,
    of_cluster: i64,
    limit: i64,
) -> Result<Vec<AlertHistoryRow>> {
    let rows = tx
        .all(
            "SELECT * FROM
                 (SELECT h.*, ROW_NUMBER() OVER
                      (PARTITION BY cluster_id ORDER BY due_at, id) AS place
                  FROM alert_histories h WHERE due_at <= $1) AS ranked
             WHERE place <= $2 ORDER BY due_at, id LIMIT $3",
            vals![now, of_cluster, limit],
        )
        .await?;
    rows.iter().map(history).collect()
}

/// Puts an entry that is due off until `later`; `false` if somebody else has it in hand.
pub async fn claim(tx: &mut Tx, row: &AlertHistoryRow, later: Timestamp) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE alert_histories SET due_at = $3 WHERE id = $1 AND due_at = $2",
            vals![row.id, row.due_at, later],
        )
        .await?;
    Ok(changed > 0)
}

/// Notes what became of an attempt that was claimed until `claimed`. Nothing changes if the claim
/// has ended and somebody else has it in hand.
pub async fn settle(tx: &mut Tx, row: &AlertHistoryRow, claimed: Timestamp) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE alert_histories SET delivery_sealed = $3, due_at = $4
             WHERE id = $1 AND due_at = $2",
            vals![row.id, claimed, &row.delivery_sealed, row.due_at],
        )
        .await?;
    Ok(changed > 0)
}

/// Forgets what was sent before `time`.
pub async fn purge(tx: &mut Tx, time: Timestamp) -> Result<()> {
    tx.run("DELETE FROM alert_histories WHERE created_at < $1", vals![time]).await?;
    Ok(())
}
