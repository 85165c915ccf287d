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
    pub check: CheckRow,
}

/// What is known from checks; only [`decide`] and, where it says so, [`update`] change it.
#[derive(Clone, Debug)]
pub struct CheckRow {
    /// When the policy is looked at next, if it is on.
    pub due_at: Timestamp,
    pub checked_at: Option<Timestamp>,
    /// The first of the checks in a row that found the conditions met.
    pub firing_since: Option<Timestamp>,
    /// Why the last check came to no result.
    pub problem: Option<String>,
}

impl CheckRow {
    /// Due at once, and nothing known.
    #[must_use]
    pub fn never() -> Self {
        let due_at = Timestamp::from_micros(0);
        Self { due_at, checked_at: None, firing_since: None, problem: None }
    }
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
        check: CheckRow {
            due_at: row.time("due_at")?,
            checked_at: row.time_or_null("checked_at")?,
            firing_since: row.time_or_null("firing_since")?,
            problem: row.text_or_null("check_problem")?,
        },
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

/// Replaces everything but id, cluster, name, time of creation and what is known from checks. Of
/// that, a policy that is off forgets what it found, and none is due later than at `due_by`.
pub async fn update(tx: &mut Tx, row: &AlertPolicyRow, due_by: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE alert_policies SET disabled = $2, search_text = $3, spec_sealed = $4,
             updated_at = $5,
             due_at = CASE WHEN due_at > $6 THEN $6 ELSE due_at END,
             firing_since = CASE WHEN $2 = 1 THEN NULL ELSE firing_since END,
             check_problem = CASE WHEN $2 = 1 THEN NULL ELSE check_problem END
         WHERE id = $1",
        vals![
            row.id,
            i64::from(row.disabled),
            &row.search_text,
            &row.spec_sealed,
            row.updated_at,
            due_by,
        ],
    )
    .await?;
    Ok(())
}

/// Policies that are on and due, the most overdue first.
pub async fn due(tx: &mut Tx, now: Timestamp, limit: i64) -> Result<Vec<AlertPolicyRow>> {
    let rows = tx
        .all(
            "SELECT * FROM alert_policies WHERE disabled = 0 AND due_at <= $1
             ORDER BY due_at, id LIMIT $2",
            vals![now, limit],
        )
        .await?;
    rows.iter().map(policy).collect()
}

/// Notes the outcome of a check of `row`; answers whether it counts. It does not if somebody else
/// has decided this check already, or has changed the policy since `row` was read.
pub async fn decide(tx: &mut Tx, row: &AlertPolicyRow, outcome: &CheckRow) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE alert_policies SET due_at = $4, checked_at = $5, firing_since = $6,
                 check_problem = $7
             WHERE id = $1 AND disabled = 0 AND due_at = $2 AND updated_at = $3",
            vals![
                row.id,
                row.check.due_at,
                row.updated_at,
                outcome.due_at,
                outcome.checked_at,
                outcome.firing_since,
                outcome.problem.as_deref(),
            ],
        )
        .await?;
    Ok(changed > 0)
}

/// Removes a policy with its webhooks.
pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM alert_policies WHERE id = $1", vals![id]).await?;
    Ok(())
}
