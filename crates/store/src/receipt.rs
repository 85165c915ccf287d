//! Receipts: what gateways said when they had applied a revision.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::instance::{self, InstanceRow};

/// A row of `receipts`; `problems` is JSON.
#[derive(Clone, Debug)]
pub struct ReceiptRow {
    pub instance_id: String,
    pub revision: i64,
    pub received_at: Timestamp,
    pub digest: String,
    pub problems: String,
}

fn receipt(row: &Row) -> Result<Option<ReceiptRow>> {
    let Some(revision) = row.int_or_null("revision")? else { return Ok(None) };
    Ok(Some(ReceiptRow {
        instance_id: row.text("id")?,
        revision,
        received_at: row.time("received_at")?,
        digest: row.text("digest")?,
        problems: row.text("problems")?,
    }))
}

/// Each instance of a cluster with its first receipt for `revision` or a later one.
pub async fn of_revision(
    tx: &mut Tx,
    cluster: Id,
    revision: i64,
) -> Result<Vec<(InstanceRow, Option<ReceiptRow>)>> {
    let rows = tx
        .all(
            "SELECT i.*, r.revision, r.received_at, r.digest, r.problems
             FROM instances i LEFT JOIN receipts r
               ON r.cluster_id = i.cluster_id AND r.instance_id = i.id
              AND r.revision = (SELECT MIN(x.revision) FROM receipts x
                                WHERE x.cluster_id = i.cluster_id AND x.instance_id = i.id
                                  AND x.revision >= $2)
             WHERE i.cluster_id = $1 ORDER BY i.register_time, i.id",
            vals![cluster, revision],
        )
        .await?;
    rows.iter().map(|row| Ok((instance::instance(row)?, receipt(row)?))).collect()
}

/// The revision of an instance's last receipt before `revision`; zero if it has none.
pub async fn revision_before(
    tx: &mut Tx,
    cluster: Id,
    instance: &str,
    revision: i64,
) -> Result<i64> {
    let row = tx
        .row(
            "SELECT COALESCE(MAX(revision), 0) AS revision FROM receipts
             WHERE cluster_id = $1 AND instance_id = $2 AND revision < $3",
            vals![cluster, instance, revision],
        )
        .await?;
    row.map_or(Ok(0), |row| row.int("revision"))
}

/// Keeps a receipt. A second one for the same revision tells what became of its problems since; the
/// time stays that of the first.
pub async fn put(tx: &mut Tx, cluster: Id, row: &ReceiptRow) -> Result<()> {
    tx.run(
        "INSERT INTO receipts (cluster_id, instance_id, revision, received_at, digest, problems)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (cluster_id, instance_id, revision) DO UPDATE SET
             digest = excluded.digest, problems = excluded.problems",
        vals![
            cluster,
            &row.instance_id,
            row.revision,
            row.received_at,
            &row.digest,
            &row.problems,
        ],
    )
    .await?;
    Ok(())
}

/// Forgets receipts from before `time`.
pub async fn purge(tx: &mut Tx, time: Timestamp) -> Result<u64> {
    tx.run("DELETE FROM receipts WHERE received_at < $1", vals![time]).await
}

/// Forgets receipts of a cluster's revisions up to `revision`.
pub async fn forget(tx: &mut Tx, cluster: Id, revision: i64) -> Result<u64> {
    tx.run(
        "DELETE FROM receipts WHERE cluster_id = $1 AND revision <= $2",
        vals![cluster, revision],
    )
    .await
}
