//! Regions; a self-hosted installation has one.

use gantry_model::region::Region;
use gantry_model::{ListQuery, Page, Result};

use crate::Cx;

pub async fn list(cx: &Cx, query: &ListQuery) -> Result<Page<Region>> {
    let (list, count) = gantry_store::region::list(&mut cx.app.db.read().await?, query).await?;
    Ok(Page { list, count })
}
