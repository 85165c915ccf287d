//! Canary releases of an application.

use gantry_app::canary_release;
use gantry_model::config::{CanaryRelease, CanaryReleaseRequest};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfApplication, Params};

#[derive(Deserialize)]
pub struct OfRelease {
    app_id: Id,
    canary_release_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    List(query): List,
) -> Reply<Page<CanaryRelease>> {
    Ok(Answer::new(canary_release::list(&cx, app_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    Body(request): Body<CanaryReleaseRequest>,
) -> Reply<CanaryRelease> {
    Ok(Answer::written(canary_release::create(&cx, app_id, request).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfRelease { app_id, canary_release_id }): Params<OfRelease>,
) -> Reply<CanaryRelease> {
    Ok(Answer::new(canary_release::get(&cx, app_id, canary_release_id).await?))
}

pub async fn replace(
    Caller(cx): Caller,
    Params(OfRelease { app_id, canary_release_id }): Params<OfRelease>,
    Body(request): Body<CanaryReleaseRequest>,
) -> Reply<CanaryRelease> {
    Ok(Answer::written(canary_release::replace(&cx, app_id, canary_release_id, request).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfRelease { app_id, canary_release_id }): Params<OfRelease>,
) -> Reply<()> {
    Ok(Answer::done(canary_release::delete(&cx, app_id, canary_release_id).await?))
}
