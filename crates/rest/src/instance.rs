//! Gateway instances of a cluster, and what they need to join it.

use gantry_app::{gateway, instance, receipt};
use gantry_model::Page;
use gantry_model::instance::Instance;
use gantry_model::receipt::Receipts;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfTemplate {
    cluster_id: gantry_model::Id,
    config_type: String,
}

#[derive(Deserialize)]
pub struct OfRevision {
    cluster_id: gantry_model::Id,
    revision: i64,
}

/// Contract, schema `StartupConfigTemplate`.
#[derive(Serialize)]
pub struct Template {
    configuration: String,
}

pub async fn issue_certificate(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
) -> Reply<gateway::TlsBundle> {
    Ok(Answer::new(gateway::issue_certificate(&cx, cluster_id).await?))
}

pub async fn startup_config(
    Caller(cx): Caller,
    Params(OfTemplate { cluster_id, config_type }): Params<OfTemplate>,
) -> Reply<Template> {
    let configuration = gateway::startup_config(&cx, cluster_id, &config_type).await?;
    Ok(Answer::new(Template { configuration }))
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
) -> Reply<Page<Instance>> {
    Ok(Answer::new(instance::list(&cx, cluster_id).await?))
}

pub async fn receipts(
    Caller(cx): Caller,
    Params(OfRevision { cluster_id, revision }): Params<OfRevision>,
) -> Reply<Receipts> {
    Ok(Answer::new(receipt::receipts(&cx, cluster_id, revision).await?))
}
