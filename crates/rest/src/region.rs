//! Regions.

use gantry_app::region;
use gantry_model::Page;
use gantry_model::region::Region;

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, List};

pub async fn list(Caller(cx): Caller, List(query): List) -> Reply<Page<Region>> {
    Ok(Answer::new(region::list(&cx, &query).await?))
}
