//! Organizations and who is in them.

use gantry_model::organization::Organization;
use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};

fn organization(row: &Row) -> Result<Organization> {
    Ok(Organization {
        id: row.id("id")?,
        name: row.text("name")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        plan_id: row.id("plan_id")?,
        plan_expire_time: None,
        subscription_started_at: None,
        owner_id: row.text("owner_id")?,
    })
}

pub async fn find(tx: &mut Tx, id: Id) -> Result<Option<Organization>> {
    let row = tx.row("SELECT * FROM organizations WHERE id = $1", vals![id]).await?;
    row.as_ref().map(organization).transpose()
}

/// `slug` is the organization's part of its clusters' host names.
pub async fn insert(tx: &mut Tx, organization: &Organization, slug: &str) -> Result<()> {
    tx.run(
        "INSERT INTO organizations (id, name, slug, owner_id, plan_id, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        vals![
            organization.id,
            &organization.name,
            slug,
            &organization.owner_id,
            organization.plan_id,
            organization.created_at,
            organization.updated_at,
        ],
    )
    .await?;
    Ok(())
}

pub async fn slug(tx: &mut Tx, id: Id) -> Result<Option<String>> {
    let row = tx.row("SELECT slug FROM organizations WHERE id = $1", vals![id]).await?;
    row.map(|row| row.text("slug")).transpose()
}

pub async fn add_member(
    tx: &mut Tx,
    id: Id,
    org: Id,
    user_id: &str,
    role: &str,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO members (id, org_id, user_id, role, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $5)",
        vals![id, org, user_id, role, now],
    )
    .await?;
    Ok(())
}

pub async fn is_member(tx: &mut Tx, org: Id, user_id: &str) -> Result<bool> {
    let row = tx
        .row("SELECT id FROM members WHERE org_id = $1 AND user_id = $2", vals![org, user_id])
        .await?;
    Ok(row.is_some())
}
