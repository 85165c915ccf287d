//! Gateway instances by their heartbeats.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};

/// A row of `instances`; `report` is the last heartbeat as JSON.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    pub report: String,
    /// Sum over all heartbeats.
    pub api_calls: i64,
    pub register_time: Timestamp,
    pub last_seen_time: Timestamp,
}

fn instance(row: &Row) -> Result<InstanceRow> {
    Ok(InstanceRow {
        report: row.text("report")?,
        api_calls: row.int("api_calls")?,
        register_time: row.time("register_time")?,
        last_seen_time: row.time("last_seen_time")?,
    })
}

/// All instances of a cluster, those that registered first first.
pub async fn list(tx: &mut Tx, cluster: Id) -> Result<Vec<InstanceRow>> {
    let rows = tx
        .all(
            "SELECT report, api_calls, register_time, last_seen_time FROM instances
             WHERE cluster_id = $1 ORDER BY register_time, id",
            vals![cluster],
        )
        .await?;
    rows.iter().map(instance).collect()
}

/// Notes a heartbeat; `api_calls` are added to those reported before.
pub async fn put(
    tx: &mut Tx,
    cluster: Id,
    id: &str,
    run_id: &str,
    report: &str,
    api_calls: i64,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO instances
             (cluster_id, id, run_id, report, api_calls, register_time, last_seen_time)
         VALUES ($1, $2, $3, $4, $5, $6, $6)
         ON CONFLICT (cluster_id, id) DO UPDATE SET run_id = excluded.run_id,
             report = excluded.report, api_calls = instances.api_calls + excluded.api_calls,
             last_seen_time = excluded.last_seen_time",
        vals![cluster, id, run_id, report, api_calls, now],
    )
    .await?;
    Ok(())
}

/// How many instances of an organization were seen since `time`.
pub async fn count_since(tx: &mut Tx, org: Id, time: Timestamp) -> Result<i64> {
    let row = tx
        .row(
            "SELECT COUNT(*) AS instances FROM instances i JOIN clusters c ON c.id = i.cluster_id
             WHERE c.org_id = $1 AND i.last_seen_time >= $2",
            vals![org, time],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int("instances"))
}

/// Forgets instances last seen before `time`.
pub async fn purge(tx: &mut Tx, time: Timestamp) -> Result<u64> {
    tx.run("DELETE FROM instances WHERE last_seen_time < $1", vals![time]).await
}
