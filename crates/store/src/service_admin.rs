//! Which members look after which applications.

use gantry_model::service_admin::ServiceAdmin;
use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

fn service_admin(row: &Row) -> Result<ServiceAdmin> {
    Ok(ServiceAdmin {
        member_id: row.id("id")?,
        app_id: row.id("app_id")?,
        user_id: row.text("user_id")?,
        first_name: row.text("first_name")?,
        last_name: row.text("last_name")?,
        email: row.text("email")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

/// `id` is the member's: entries have none of their own.
const LIST: List = List {
    columns: "t.*",
    from: "(SELECT s.member_id AS id, s.app_id, s.created_at, s.updated_at,
                COALESCE(m.user_id, '') AS user_id, COALESCE(u.email, m.email) AS email,
                COALESCE(u.first_name, '') AS first_name, COALESCE(u.last_name, '') AS last_name,
                LOWER(COALESCE(u.email, m.email) || ' ' || COALESCE(u.first_name, '') || ' '
                    || COALESCE(u.last_name, '')) AS search_text
            FROM service_admins s
            JOIN members m ON m.id = s.member_id
            LEFT JOIN users u ON u.id = m.user_id) t",
    scope: "t.app_id = $1",
    orders: &[("updated_at", "t.updated_at"), ("created_at", "t.created_at")],
};

pub async fn list(tx: &mut Tx, app: Id, query: &ListQuery) -> Result<(Vec<ServiceAdmin>, i64)> {
    let (rows, count) = list::page(tx, &LIST, vals![app], query).await?;
    Ok((rows.iter().map(service_admin).collect::<Result<_>>()?, count))
}

/// The applications that a member looks after in a cluster.
pub async fn applications(tx: &mut Tx, cluster: Id, member: Id) -> Result<Vec<Id>> {
    let rows = tx
        .all(
            "SELECT app_id FROM service_admins WHERE member_id = $1 AND cluster_id = $2
             ORDER BY app_id",
            vals![member, cluster],
        )
        .await?;
    rows.iter().map(|row| row.id("app_id")).collect()
}

/// Whether the entry is new.
pub async fn insert(tx: &mut Tx, cluster: Id, app: Id, member: Id, now: Timestamp) -> Result<bool> {
    let added = tx
        .run(
            "INSERT INTO service_admins (app_id, member_id, cluster_id, created_at, updated_at)
             VALUES ($1, $2, $3, $4, $4) ON CONFLICT (app_id, member_id) DO NOTHING",
            vals![app, member, cluster, now],
        )
        .await?;
    Ok(added == 1)
}

/// Whether there was such an entry.
pub async fn delete(tx: &mut Tx, app: Id, member: Id) -> Result<bool> {
    let removed = tx
        .run("DELETE FROM service_admins WHERE app_id = $1 AND member_id = $2", vals![app, member])
        .await?;
    Ok(removed == 1)
}
