//! Service registries of a cluster.

use gantry_app::service_registry;
use gantry_model::config::{ServiceRegistry, ServiceRegistrySpec};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::compat::{Form, Shaped};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfServiceRegistry {
    cluster_id: Id,
    service_registry_id: Id,
}

pub async fn list(
    form: Form,
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Shaped<Page<ServiceRegistry>>> {
    Ok(Answer::new(service_registry::list(&cx, cluster_id, &query).await?)
        .map(|one| form.shaped(one)))
}

pub async fn create(
    form: Form,
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(spec): Body<ServiceRegistrySpec>,
) -> Reply<Shaped<ServiceRegistry>> {
    Ok(Answer::written(service_registry::create(&cx, cluster_id, spec).await?)
        .map(|one| form.shaped(one)))
}

pub async fn get(
    form: Form,
    Caller(cx): Caller,
    Params(OfServiceRegistry { cluster_id, service_registry_id }): Params<OfServiceRegistry>,
) -> Reply<Shaped<ServiceRegistry>> {
    Ok(Answer::new(service_registry::get(&cx, cluster_id, service_registry_id).await?)
        .map(|one| form.shaped(one)))
}

pub async fn replace(
    form: Form,
    Caller(cx): Caller,
    Params(OfServiceRegistry { cluster_id, service_registry_id }): Params<OfServiceRegistry>,
    Body(spec): Body<ServiceRegistrySpec>,
) -> Reply<Shaped<ServiceRegistry>> {
    Ok(Answer::written(
        service_registry::replace(&cx, cluster_id, service_registry_id, spec).await?,
    )
    .map(|one| form.shaped(one)))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfServiceRegistry { cluster_id, service_registry_id }): Params<OfServiceRegistry>,
) -> Reply<()> {
    Ok(Answer::done(service_registry::delete(&cx, cluster_id, service_registry_id).await?))
}
