//! What decides about access, read in one query: membership, and the roles that count in a place.

use gantry_model::{Id, Result};

use crate::Tx;
use crate::db::{Row, vals};

/// A member of the organization that owns a place, with the roles that count there.
#[derive(Clone, Debug)]
pub struct Membership {
    pub org: Id,
    /// `None` where the place is a whole organization.
    pub cluster: Option<Id>,
    pub member: Id,
    /// Roles, and the cluster they are given for.
    pub bindings: Vec<(String, Option<Id>)>,
}

/// The user's membership with all roles, those of single clusters too.
pub async fn in_organization(tx: &mut Tx, org: Id, user_id: &str) -> Result<Option<Membership>> {
    let rows = tx
        .all(
            "SELECT m.org_id, CAST(NULL AS BIGINT) AS place_id, m.id AS member_id, b.role, b.cluster_id
             FROM members m LEFT JOIN role_bindings b ON b.member_id = m.id
             WHERE m.org_id = $1 AND m.user_id = $2",
            vals![org, user_id],
        )
        .await?;
    membership(&rows)
}

/// The same for the organization of a cluster, with the roles that count in this cluster.
pub async fn in_cluster(tx: &mut Tx, cluster: Id, user_id: &str) -> Result<Option<Membership>> {
    let rows = tx
        .all(
            "SELECT m.org_id, c.id AS place_id, m.id AS member_id, b.role, b.cluster_id
             FROM clusters c
             JOIN members m ON m.org_id = c.org_id AND m.user_id = $2
             LEFT JOIN role_bindings b
                 ON b.member_id = m.id AND (b.cluster_id IS NULL OR b.cluster_id = c.id)
             WHERE c.id = $1",
            vals![cluster, user_id],
        )
        .await?;
    membership(&rows)
}

/// The same for the cluster of an application.
pub async fn in_application(tx: &mut Tx, app: Id, user_id: &str) -> Result<Option<Membership>> {
    let rows = tx
        .all(
            "SELECT m.org_id, c.id AS place_id, m.id AS member_id, b.role, b.cluster_id
             FROM resources r
             JOIN clusters c ON c.id = r.cluster_id
             JOIN members m ON m.org_id = c.org_id AND m.user_id = $2
             LEFT JOIN role_bindings b
                 ON b.member_id = m.id AND (b.cluster_id IS NULL OR b.cluster_id = c.id)
             WHERE r.id = $1 AND r.kind = 'application'",
            vals![app, user_id],
        )
        .await?;
    membership(&rows)
}

fn membership(rows: &[Row]) -> Result<Option<Membership>> {
    let Some(first) = rows.first() else { return Ok(None) };
    let mut bindings = Vec::new();
    for row in rows {
        if let Some(role) = row.text_or_null("role")? {
            bindings.push((role, row.int_or_null("cluster_id")?.and_then(Id::new)));
        }
    }
    Ok(Some(Membership {
        org: first.id("org_id")?,
        cluster: first.int_or_null("place_id")?.and_then(Id::new),
        member: first.id("member_id")?,
        bindings,
    }))
}

/// Whether a member is service admin of an application, or of any in a cluster, or of any at all.
pub async fn administers(
    tx: &mut Tx,
    member: Id,
    cluster: Option<Id>,
    app: Option<Id>,
) -> Result<bool> {
    let row = match (cluster, app) {
        (Some(cluster), Some(app)) => {
            let sql = "SELECT app_id FROM service_admins
                       WHERE member_id = $1 AND cluster_id = $2 AND app_id = $3";
            tx.row(sql, vals![member, cluster, app]).await?
        }
        (Some(cluster), None) => {
            let sql = "SELECT app_id FROM service_admins
                       WHERE member_id = $1 AND cluster_id = $2 LIMIT 1";
            tx.row(sql, vals![member, cluster]).await?
        }
        (None, _) => {
            let sql = "SELECT app_id FROM service_admins WHERE member_id = $1 LIMIT 1";
            tx.row(sql, vals![member]).await?
        }
    };
    Ok(row.is_some())
}
