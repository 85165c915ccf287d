//! Gateway instances of a cluster, and what they need to join it.

use gantry_app::gateway;
use gantry_model::Page;
use gantry_model::instance::Instance;
use serde::{Deserialize, Serialize};

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfTemplate {
    cluster_id: gantry_model::Id,
    config_type: String,
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
    Ok(Answer::new(gateway::instances(&cx, cluster_id).await?))
}
