//! APIs of an application.

use gantry_app::api;
use gantry_model::config::{Api, ApiSpec, ApiWithApplication};
use gantry_model::{Id, Page};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{Answer, Reply};
use crate::compat::{Form, Shaped};
use crate::extract::{Body, Caller, List, OfApplication, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfApi {
    app_id: Id,
    api_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    List(query): List,
) -> Reply<Page<Api>> {
    Ok(Answer::new(api::list(&cx, app_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
    Body(spec): Body<ApiSpec>,
) -> Reply<Api> {
    Ok(Answer::written(api::create(&cx, app_id, spec).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfApi { app_id, api_id }): Params<OfApi>,
) -> Reply<Api> {
    Ok(Answer::new(api::get(&cx, app_id, api_id).await?))
}

pub async fn replace(
    Caller(cx): Caller,
    Params(OfApi { app_id, api_id }): Params<OfApi>,
    Body(spec): Body<ApiSpec>,
) -> Reply<Api> {
    Ok(Answer::written(api::replace(&cx, app_id, api_id, spec).await?))
}

pub async fn patch(
    Caller(cx): Caller,
    Params(OfApi { app_id, api_id }): Params<OfApi>,
    Body(change): Body<Map<String, Value>>,
) -> Reply<Api> {
    Ok(Answer::written(api::patch(&cx, app_id, api_id, change).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfApi { app_id, api_id }): Params<OfApi>,
) -> Reply<()> {
    Ok(Answer::done(api::delete(&cx, app_id, api_id).await?))
}

pub async fn delete_all(
    Caller(cx): Caller,
    Params(OfApplication { app_id }): Params<OfApplication>,
) -> Reply<()> {
    Ok(Answer::done(api::delete_all(&cx, app_id).await?))
}

pub async fn search(
    form: Form,
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Shaped<Page<ApiWithApplication>>> {
    Ok(Answer::new(form.shaped(api::search(&cx, cluster_id, &query).await?)))
}
