//! What is counted for plans and bills: API calls, and how much an organization has.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
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
