//! What is counted for plans and bills: API calls, and how much an organization has.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, Sql, vals};
use crate::resource::Kind;

/// A row of `billing_accounts`: ids that the provider of payments gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountRow {
    pub customer: String,
    pub subscription: Option<String>,
    pub subscription_item: Option<String>,
}

/// Adds calls to those of the day.
pub async fn add_calls(tx: &mut Tx, org: Id, cluster: Id, day: i64, calls: i64) -> Result<()> {
    tx.run(
        "INSERT INTO api_usage (org_id, day, cluster_id, calls) VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id, day, cluster_id)
         DO UPDATE SET calls = api_usage.calls + excluded.calls",
        vals![org, day, cluster, calls],
    )
    .await?;
    Ok(())
}

/// Whether a run of a gateway has told its calls before.
pub async fn knows_run(tx: &mut Tx, cluster: Id, instance: &str, run: &str) -> Result<bool> {
    let sql = "SELECT 1 AS known FROM api_usage_runs
               WHERE cluster_id = $1 AND instance_id = $2 AND run_id = $3";
    Ok(tx.row(sql, vals![cluster, instance, run]).await?.is_some())
}

/// Takes over how many calls a run of a gateway has counted since it started; answers how many of
/// them are new. A report that comes twice, late or out of order adds nothing.
pub async fn advance_run(
    tx: &mut Tx,
    cluster: Id,
    instance: &str,
    run: &str,
    total: i64,
    now: Timestamp,
) -> Result<i64> {
    // The first statement holds the row until the commit: reports of one run come one by one.
    tx.run(
        "INSERT INTO api_usage_runs (cluster_id, instance_id, run_id, calls, seen_at)
         VALUES ($1, $2, $3, 0, $4)
         ON CONFLICT (cluster_id, instance_id, run_id) DO UPDATE SET seen_at = excluded.seen_at",
        vals![cluster, instance, run, now],
    )
    .await?;
    let run_of = "cluster_id = $1 AND instance_id = $2 AND run_id = $3";
    let sql = format!("SELECT calls FROM api_usage_runs WHERE {run_of}");
    let row = tx.row(Sql::assembled(sql), vals![cluster, instance, run]).await?;
    let known = counted(row.as_ref(), "calls")?;
    if total <= known {
        return Ok(0);
    }
    let sql = format!("UPDATE api_usage_runs SET calls = $4 WHERE {run_of}");
    tx.run(Sql::assembled(sql), vals![cluster, instance, run, total]).await?;
    Ok(total - known)
}

/// Forgets runs that have not reported since `time`.
pub async fn purge_runs(tx: &mut Tx, time: Timestamp) -> Result<()> {
    tx.run("DELETE FROM api_usage_runs WHERE seen_at < $1", vals![time]).await?;
    Ok(())
}

/// Calls of an organization from the day `from` up to and without the day `to`.
pub async fn calls(tx: &mut Tx, org: Id, from: i64, to: i64) -> Result<i64> {
    let row = tx
        .row(
            "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) AS calls FROM api_usage
             WHERE org_id = $1 AND day >= $2 AND day < $3",
            vals![org, from, to],
        )
        .await?;
    counted(row.as_ref(), "calls")
}

pub async fn find_account(tx: &mut Tx, org: Id) -> Result<Option<AccountRow>> {
    let row = tx.row("SELECT * FROM billing_accounts WHERE org_id = $1", vals![org]).await?;
    let account = |row: &Row| {
        Ok(AccountRow {
            customer: row.text("customer")?,
            subscription: row.text_or_null("subscription")?,
            subscription_item: row.text_or_null("subscription_item")?,
        })
    };
    row.as_ref().map(account).transpose()
}

pub async fn put_account(tx: &mut Tx, org: Id, account: &AccountRow) -> Result<()> {
    tx.run(
        "INSERT INTO billing_accounts (org_id, customer, subscription, subscription_item)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (org_id) DO UPDATE SET customer = excluded.customer,
             subscription = excluded.subscription, subscription_item = excluded.subscription_item",
        vals![
            org,
            &account.customer,
            account.subscription.as_deref(),
            account.subscription_item.as_deref(),
        ],
    )
    .await?;
    Ok(())
}

/// Puts an organization on a plan.
pub async fn set_plan(
    tx: &mut Tx,
    org: Id,
    plan: Id,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "UPDATE organizations SET plan_id = $2, plan_expire_time = $3,
             subscription_started_at = $4, updated_at = $4 WHERE id = $1",
        vals![org, plan, expires, now],
    )
    .await?;
    Ok(())
}

/// Holds the organization's row until the transaction ends: what is counted after it stays true.
pub async fn lock(tx: &mut Tx, org: Id) -> Result<()> {
    tx.run("UPDATE organizations SET plan_id = plan_id WHERE id = $1", vals![org]).await?;
    Ok(())
}

/// Resources of a kind in all clusters of an organization.
pub async fn count_resources(tx: &mut Tx, org: Id, kind: Kind) -> Result<i64> {
    let row = tx
        .row(
            "SELECT COUNT(*) AS found FROM clusters c
             JOIN resources r ON r.cluster_id = c.id AND r.kind = $2 WHERE c.org_id = $1",
            vals![org, kind.name()],
        )
        .await?;
    counted(row.as_ref(), "found")
}

pub async fn count_clusters(tx: &mut Tx, org: Id) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS found FROM clusters WHERE org_id = $1";
    counted(tx.row(sql, vals![org]).await?.as_ref(), "found")
}

pub async fn count_members(tx: &mut Tx, org: Id) -> Result<i64> {
    let sql = "SELECT COUNT(*) AS found FROM members WHERE org_id = $1";
    counted(tx.row(sql, vals![org]).await?.as_ref(), "found")
}

fn counted(row: Option<&Row>, column: &str) -> Result<i64> {
    row.map_or(Ok(0), |row| row.int(column))
}
