//! Applications of a cluster.

use gantry_app::application;
use gantry_model::config::{Application, ApplicationSpec};
use gantry_model::{Id, Page};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::answer::{Answer, Reply};
use crate::compat::{Form, Shaped};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfApplication {
    cluster_id: Id,
    app_id: Id,
}

/// `cascade` also removes the APIs.
#[derive(Deserialize)]
pub struct Cascade {
    cascade: bool,
}

pub async fn list(
    form: Form,
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Shaped<Page<Application>>> {
    Ok(Answer::new(application::list(&cx, cluster_id, &query).await?).map(|one| form.shaped(one)))
}

pub async fn create(
    form: Form,
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(spec): Body<ApplicationSpec>,
) -> Reply<Shaped<Application>> {
    Ok(Answer::written(application::create(&cx, cluster_id, spec).await?)
        .map(|one| form.shaped(one)))
}

pub async fn get(
    form: Form,
    Caller(cx): Caller,
    Params(OfApplication { cluster_id, app_id }): Params<OfApplication>,
) -> Reply<Shaped<Application>> {
    Ok(Answer::new(application::get(&cx, cluster_id, app_id).await?).map(|one| form.shaped(one)))
}

pub async fn replace(
    form: Form,
    Caller(cx): Caller,
    Params(OfApplication { cluster_id, app_id }): Params<OfApplication>,
    Body(spec): Body<ApplicationSpec>,
) -> Reply<Shaped<Application>> {
    Ok(Answer::written(application::replace(&cx, cluster_id, app_id, spec).await?)
        .map(|one| form.shaped(one)))
}

pub async fn patch(
    form: Form,
    Caller(cx): Caller,
    Params(OfApplication { cluster_id, app_id }): Params<OfApplication>,
    Body(change): Body<Map<String, Value>>,
) -> Reply<Shaped<Application>> {
    Ok(Answer::written(application::patch(&cx, cluster_id, app_id, change).await?)
        .map(|one| form.shaped(one)))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfApplication { cluster_id, app_id }): Params<OfApplication>,
    Params(Cascade { cascade }): Params<Cascade>,
) -> Reply<()> {
    Ok(Answer::done(application::delete(&cx, cluster_id, app_id, cascade).await?))
}

pub async fn delete_all(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Params(Cascade { cascade }): Params<Cascade>,
) -> Reply<()> {
    Ok(Answer::done(application::delete_all(&cx, cluster_id, cascade).await?))
}
