//! Clusters, their settings and the plugins that run for all of their traffic.

use gantry_app::cluster;
use gantry_model::Page;
use gantry_model::config::cluster::ClusterCreate;
use gantry_model::config::{Cluster, ClusterSettings, ClusterSummary, Plugins};

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, OfOrganization, Params};

pub async fn list(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    List(query): List,
) -> Reply<Page<ClusterSummary>> {
    Ok(Answer::new(cluster::list(&cx, id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
    Body(create): Body<ClusterCreate>,
) -> Reply<Cluster> {
    Ok(Answer::new(cluster::create(&cx, id, create).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
) -> Reply<Cluster> {
    Ok(Answer::new(cluster::get(&cx, cluster_id).await?))
}

pub async fn update_settings(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(settings): Body<ClusterSettings>,
) -> Reply<()> {
    Ok(Answer::done(cluster::update_settings(&cx, cluster_id, settings).await?))
}

pub async fn update_plugins(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(plugins): Body<Plugins>,
) -> Reply<()> {
    Ok(Answer::done(cluster::update_plugins(&cx, cluster_id, plugins).await?))
}
