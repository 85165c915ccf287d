//! Administrators of an application.

use gantry_app::service_admin;
use gantry_model::service_admin::{ServiceAdmin, ServiceAdminAdd};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfApplication, Params};

#[derive(Deserialize)]
pub struct OfAdmin {
    app_id: Id,
    member_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    List(query): List,
) -> Reply<Page<ServiceAdmin>> {
    Ok(Answer::new(service_admin::list(&cx, app_id, &query).await?))
}

pub async fn add(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    Body(add): Body<ServiceAdminAdd>,
) -> Reply<()> {
    Ok(Answer::done(service_admin::add(&cx, app_id, add).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfAdmin { app_id, member_id }): Params<OfAdmin>,
) -> Reply<()> {
    Ok(Answer::done(service_admin::delete(&cx, app_id, member_id).await?))
}
