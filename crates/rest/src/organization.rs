//! Organizations.

use gantry_app::organization;
use gantry_model::organization::Organization;
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, OfOrganization, Params};

/// Contract, schema `NameBody`.
#[derive(Deserialize)]
pub struct Named {
    name: String,
}

/// Gantry's addition to `deleteOrganization`.
#[derive(Deserialize)]
pub struct Force {
    force: bool,
}

pub async fn create(Caller(cx): Caller, Body(Named { name }): Body<Named>) -> Reply<Organization> {
    Ok(Answer::new(organization::create(&cx, &name).await?))
}

pub async fn initialize(Caller(cx): Caller, Body(Named { name }): Body<Named>) -> Reply<()> {
    organization::initialize(&cx, &name).await?;
    Ok(Answer::empty())
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
) -> Reply<Organization> {
    Ok(Answer::new(organization::get(&cx, id).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    Params(Force { force }): Params<Force>,
) -> Reply<()> {
    organization::delete(&cx, id, force).await?;
    Ok(Answer::empty())
}
