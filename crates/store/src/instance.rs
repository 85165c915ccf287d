//! Gateway instances by their heartbeats.

use std::collections::BTreeSet;

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, Sql, Val, vals};

/// A row of `instances`; `report` is the last heartbeat as JSON.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    pub id: String,
    /// New at every start of the instance.
    pub run_id: String,
    pub report: String,
    /// How we know of it: `report`, `server_info` or `connection`.
    pub source: String,
    /// Revision in use, by its last report; zero if it never said.
    pub config_version: i64,
    /// What it uses is not what that revision says.
    pub differs: bool,
    /// From where its last report came, as far as we see; empty if that is not known.
    pub address: String,
    /// Serial number of the certificate that came with its last report, if one did.
    pub certificate: Option<String>,
    /// Sum over all heartbeats.
    pub api_calls: i64,
    pub register_time: Timestamp,
    pub run_started_at: Timestamp,
    pub last_seen_time: Timestamp,
}

pub(crate) fn instance(row: &Row) -> Result<InstanceRow> {
    Ok(InstanceRow {
        id: row.text("id")?,
        run_id: row.text("run_id")?,
        report: row.text("report")?,
        source: row.text("source")?,
        config_version: row.int("config_version")?,
        differs: row.int("differs")? != 0,
        address: row.text("address")?,
        certificate: row.text_or_null("certificate")?,
        api_calls: row.int("api_calls")?,
        register_time: row.time("register_time")?,
        run_started_at: row.time("run_started_at")?,
        last_seen_time: row.time("last_seen_time")?,
    })
}

/// All instances of a cluster, those that registered first first.
pub async fn list(tx: &mut Tx, cluster: Id) -> Result<Vec<InstanceRow>> {
    let rows = tx
        .all(
            "SELECT * FROM instances WHERE cluster_id = $1 ORDER BY register_time, id",
            vals![cluster],
        )
        .await?;
    rows.iter().map(instance).collect()
}

pub async fn find(tx: &mut Tx, cluster: Id, id: &str) -> Result<Option<InstanceRow>> {
    let row = tx
        .row("SELECT * FROM instances WHERE cluster_id = $1 AND id = $2", vals![cluster, id])
        .await?;
    row.as_ref().map(instance).transpose()
}

const PUT: &str = "INSERT INTO instances
         (cluster_id, id, run_id, report, source, config_version, differs, api_calls, register_time,
          run_started_at, last_seen_time, certificate, address)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
     ON CONFLICT (cluster_id, id) DO UPDATE SET
         run_started_at = CASE WHEN instances.run_id = excluded.run_id
             THEN instances.run_started_at ELSE excluded.run_started_at END,
         run_id = excluded.run_id, report = excluded.report, source = excluded.source,
         config_version = excluded.config_version, differs = excluded.differs,
         api_calls = instances.api_calls + excluded.api_calls,
         certificate = excluded.certificate, address = excluded.address,
         last_seen_time = excluded.last_seen_time";

fn values(cluster: Id, heard: &InstanceRow) -> Vec<Val> {
    vals![
        cluster,
        &heard.id,
        &heard.run_id,
        &heard.report,
        &heard.source,
        heard.config_version,
        i64::from(heard.differs),
        heard.api_calls,
        heard.register_time,
        heard.run_started_at,
        heard.last_seen_time,
        heard.certificate.as_deref(),
        &heard.address,
    ]
}

/// Notes that an instance was heard of: registers it, or takes over what it says now. Its
/// `api_calls` are added to those reported before; `run_started_at` counts if the run is new.
pub async fn put(tx: &mut Tx, cluster: Id, heard: &InstanceRow) -> Result<()> {
    tx.run(PUT, values(cluster, heard)).await?;
    Ok(())
}

/// The same, unless it has reported itself since `time`.
pub async fn put_unless_reporting(
    tx: &mut Tx,
    cluster: Id,
    heard: &InstanceRow,
    time: Timestamp,
) -> Result<()> {
    let sql = format!("{PUT} WHERE instances.source <> 'report' OR instances.last_seen_time < $14");
    let mut values = values(cluster, heard);
    values.push(time.into());
    tx.run(Sql::assembled(sql), values).await?;
    Ok(())
}

/// From where instances of a cluster have reported since `time`.
pub async fn addresses(tx: &mut Tx, cluster: Id, time: Timestamp) -> Result<BTreeSet<String>> {
    let rows = tx
        .all(
            "SELECT DISTINCT address FROM instances
             WHERE cluster_id = $1 AND source = 'report' AND last_seen_time >= $2",
            vals![cluster, time],
        )
        .await?;
    rows.iter().map(|row| row.text("address")).collect()
}

/// Forgets that somebody is connected: it has a name now.
pub async fn delete_connection(tx: &mut Tx, cluster: Id, id: &str) -> Result<()> {
    tx.run(
        "DELETE FROM instances WHERE cluster_id = $1 AND id = $2 AND source = 'connection'",
        vals![cluster, id],
    )
    .await?;
    Ok(())
}

/// How many instances of a cluster are known.
pub async fn count(tx: &mut Tx, cluster: Id) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS instances FROM instances WHERE cluster_id = $1";
    tx.row(sql, vals![cluster]).await?.map_or(Ok(0), |row| row.int("instances"))
}

/// Forgets the instance of a cluster that is silent longest, if it was last seen before `time`; answers
/// whether there was one.
pub async fn forget_silent(tx: &mut Tx, cluster: Id, time: Timestamp) -> Result<bool> {
    let sql = "DELETE FROM instances WHERE cluster_id = $1 AND id = (
             SELECT id FROM instances WHERE cluster_id = $1 AND last_seen_time < $2
             ORDER BY last_seen_time LIMIT 1)";
    Ok(tx.run(sql, vals![cluster, time]).await? > 0)
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
