//! Organizations.

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
        plan_expire_time: row.time_or_null("plan_expire_time")?,
        subscription_started_at: row.time_or_null("subscription_started_at")?,
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

/// The organization's row, held by this transaction until it ends: whoever has it may change who
/// its members are.
pub async fn lock(tx: &mut Tx, id: Id) -> Result<Option<Organization>> {
    tx.run("UPDATE organizations SET name = name WHERE id = $1", vals![id]).await?;
    find(tx, id).await
}

pub async fn set_owner(tx: &mut Tx, id: Id, user_id: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE organizations SET owner_id = $2, updated_at = $3 WHERE id = $1",
        vals![id, user_id, now],
    )
    .await?;
    Ok(())
}

/// Removes an organization with its members, its clusters and everything below; its audit stays.
pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    // What is referred to cannot go before what refers to it; a cascade knows no such order.
    tx.run(
        "DELETE FROM resource_refs WHERE source_id IN
             (SELECT r.id FROM resources r JOIN clusters c ON c.id = r.cluster_id
              WHERE c.org_id = $1)",
        vals![id],
    )
    .await?;
    tx.run("DELETE FROM organizations WHERE id = $1", vals![id]).await?;
    Ok(())
}
