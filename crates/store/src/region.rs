//! Regions: where clusters live.

use gantry_model::config::STATUS_READY;
use gantry_model::region::Region;
use gantry_model::{Id, ListQuery, Result};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

fn region(row: &Row) -> Result<Region> {
    Ok(Region {
        id: row.id("id")?,
        name: row.text("name")?,
        provider: row.text("provider")?,
        status: STATUS_READY,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

const LIST: List = List {
    columns: "t.*",
    from: "(SELECT r.*, LOWER(r.name) AS search_text FROM regions r) t",
    scope: "t.id > $1",
    orders: &[
        ("created_at", "t.created_at"),
        ("updated_at", "t.updated_at"),
        ("name", "t.name"),
        ("id", "t.id"),
    ],
};

pub async fn list(tx: &mut Tx, query: &ListQuery) -> Result<(Vec<Region>, i64)> {
    let (rows, count) = list::page(tx, &LIST, vals![0_i64], query).await?;
    Ok((rows.iter().map(region).collect::<Result<_>>()?, count))
}

pub async fn find(tx: &mut Tx, id: Id) -> Result<Option<Region>> {
    let row = tx.row("SELECT * FROM regions WHERE id = $1", vals![id]).await?;
    row.as_ref().map(region).transpose()
}

pub async fn insert(tx: &mut Tx, region: &Region) -> Result<()> {
    tx.run(
        "INSERT INTO regions (id, name, provider, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5)",
        vals![region.id, &region.name, &region.provider, region.created_at, region.updated_at],
    )
    .await?;
    Ok(())
}
