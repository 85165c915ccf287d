//! Numbered migrations, embedded, forward only. A schema newer than this program is refused.

use gantry_model::{Error, Result};
use rusqlite::{Connection, TransactionBehavior};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _};

use crate::db::failed;
use crate::sqlite;

/// Every migration in order; the number is the position, from 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_start.sql"),
    include_str!("../migrations/0002_ledgers.sql"),
    include_str!("../migrations/0003_members.sql"),
    include_str!("../migrations/0004_loaded_plugins.sql"),
    include_str!("../migrations/0005_billing.sql"),
    include_str!("../migrations/0006_lists.sql"),
    include_str!("../migrations/0007_alerts.sql"),
    include_str!("../migrations/0008_references.sql"),
    include_str!("../migrations/0009_accounts.sql"),
    include_str!("../migrations/0010_canary_releases.sql"),
    include_str!("../migrations/0011_openapi.sql"),
    include_str!("../migrations/0012_receipts.sql"),
    include_str!("../migrations/0013_gateway_runs.sql"),
    include_str!("../migrations/0014_alert_evaluation.sql"),
    include_str!("../migrations/0015_instance_addresses.sql"),
];

/// What finds a part of a text without reading all texts. The extension is a trusted one: the owner
/// of a database may create it.
const TRIGRAMS: &str = "CREATE EXTENSION IF NOT EXISTS pg_trgm;
    CREATE INDEX IF NOT EXISTS resources_by_trigrams ON resources
        USING gin (search_text gin_trgm_ops) WITH (gin_pending_list_limit = 256)";

/// Key of the advisory lock that lets one server at a time migrate.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7250115)";

const CREATE: &str =
    "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL PRIMARY KEY)";
const NEWEST: &str = "SELECT COALESCE(MAX(version), 0) AS version FROM schema_migrations";

pub(crate) fn sqlite(conn: &mut Connection) -> Result<()> {
    let immediate = TransactionBehavior::Immediate;
    let tx = conn.transaction_with_behavior(immediate).map_err(sqlite::failed)?;
    tx.execute_batch(CREATE).map_err(sqlite::failed)?;
    let done = tx.query_row(NEWEST, [], |row| row.get(0)).map_err(sqlite::failed)?;
    for (version, text) in pending(done)? {
        tx.execute_batch(&for_sqlite(text)).map_err(sqlite::failed)?;
        tx.execute_batch(&record(version)).map_err(sqlite::failed)?;
    }
    tx.commit().map_err(sqlite::failed)
}

pub(crate) async fn postgres(pool: &PgPool) -> Result<()> {
    let mut tx = pool.begin().await.map_err(failed)?;
    tx.execute(LOCK).await.map_err(failed)?;
    tx.execute(CREATE).await.map_err(failed)?;
    let done: i64 = tx.fetch_one(NEWEST).await.and_then(|r| r.try_get(0)).map_err(failed)?;
    for (version, text) in pending(done)? {
        let text = text.replace("TEXT /* bytewise */", "TEXT COLLATE \"C\"");
        tx.execute(AssertSqlSafe(text)).await.map_err(failed)?;
        tx.execute(AssertSqlSafe(record(version))).await.map_err(failed)?;
    }
    trigrams(&mut tx).await?;
    tx.commit().await.map_err(failed)
}

/// At every start, because a database may get the extension later. Searches find the same without.
async fn trigrams(tx: &mut PgConnection) -> Result<()> {
    let mut attempt = tx.begin().await.map_err(failed)?;
    match attempt.execute(TRIGRAMS).await {
        Ok(_) => attempt.commit().await.map_err(failed),
        Err(error) => {
            tracing::warn!(%error, "searches are slow without PostgreSQL's extension pg_trgm");
            attempt.rollback().await.map_err(failed)
        }
    }
}

/// The text with the parts that are for SQLite only.
fn for_sqlite(text: &str) -> String {
    let mut parts = text.split("/* sqlite: ");
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        all += &part.replacen("*/", "", 1);
    }
    all
}

fn record(version: i64) -> String {
    format!("INSERT INTO schema_migrations (version) VALUES ({version})")
}

/// Migrations after version `done`.
fn pending(done: i64) -> Result<impl Iterator<Item = (i64, &'static str)>> {
    let known = MIGRATIONS.len() as i64;
    if done > known {
        return Err(Error::internal(format!(
            "the database has schema version {done}, this program knows {known}: \
             start the newer Gantry that wrote it, or restore a backup from before the upgrade"
        )));
    }
    Ok((1..).zip(MIGRATIONS.iter().copied()).filter(move |(version, _)| *version > done))
}

#[cfg(test)]
mod tests {
    use crate::Db;

    #[tokio::test]
    async fn a_database_of_a_newer_gantry_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gantry.db");
        Db::open_sqlite(&file).await.expect("a new database").close().await;
        let conn = crate::sqlite::connect(&file).expect("a connection");
        conn.execute_batch(&super::record(99)).expect("a newer schema");
        let refused = Db::open_sqlite(&file).await.err().expect("a refusal");
        let reason = std::error::Error::source(&refused).expect("a reason").to_string();
        let known = super::MIGRATIONS.len();
        let expected = format!("schema version 99, this program knows {known}");
        assert!(reason.contains(&expected), "{reason}");
        assert!(reason.contains("start the newer Gantry"), "{reason}");
    }
}
