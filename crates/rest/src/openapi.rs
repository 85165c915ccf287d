//! Import of OpenAPI documents.

use gantry_app::openapi;
use gantry_model::config::Application;
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, OfCluster, Params};

/// Contract, schema `OpenAPIImport`.
#[derive(Deserialize)]
pub struct Document {
    openapi: String,
}

pub async fn import(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(Document { openapi }): Body<Document>,
) -> Reply<Application> {
    Ok(Answer::written(openapi::import(&cx, cluster_id, &openapi).await?))
}
