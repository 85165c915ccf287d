//! All gateways of all clusters at once, for the operator.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::vals;

/// An instance, and the newest revision of its cluster.
#[derive(Clone, Debug)]
pub struct Census {
    pub cluster: Id,
    pub newest: i64,
    /// Revision in use; zero if it never said.
    pub applied: i64,
    /// What it uses is not what that revision says.
    pub differs: bool,
    /// Its last heartbeat as JSON.
    pub report: String,
    pub last_seen_time: Timestamp,
}

/// Instances that were seen since `time`.
pub async fn instances(tx: &mut Tx, time: Timestamp) -> Result<Vec<Census>> {
    let rows = tx
        .all(
            "SELECT c.id, c.config_version AS newest, i.config_version AS applied, i.differs,
                 i.report, i.last_seen_time
             FROM instances i JOIN clusters c ON c.id = i.cluster_id
             WHERE i.last_seen_time >= $1",
            vals![time],
        )
        .await?;
    let census = |row: &crate::db::Row| {
        Ok(Census {
            cluster: row.id("id")?,
            newest: row.int("newest")?,
            applied: row.int("applied")?,
            differs: row.int("differs")? != 0,
            report: row.text("report")?,
            last_seen_time: row.time("last_seen_time")?,
        })
    };
    rows.iter().map(census).collect()
}
