//! Log collections of a cluster.

use gantry_app::log_collection;
use gantry_model::config::{LogCollection, LogCollectionSpec};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfLogCollection {
    cluster_id: Id,
    log_collection_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<LogCollection>> {
    Ok(Answer::new(log_collection::list(&cx, cluster_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(spec): Body<LogCollectionSpec>,
) -> Reply<LogCollection> {
    Ok(Answer::written(log_collection::create(&cx, cluster_id, spec).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfLogCollection { cluster_id, log_collection_id }): Params<OfLogCollection>,
) -> Reply<LogCollection> {
    Ok(Answer::new(log_collection::get(&cx, cluster_id, log_collection_id).await?))
}

pub async fn replace(
    Caller(cx): Caller,
    Params(OfLogCollection { cluster_id, log_collection_id }): Params<OfLogCollection>,
    Body(spec): Body<LogCollectionSpec>,
) -> Reply<LogCollection> {
    Ok(Answer::written(log_collection::replace(&cx, cluster_id, log_collection_id, spec).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfLogCollection { cluster_id, log_collection_id }): Params<OfLogCollection>,
) -> Reply<()> {
    Ok(Answer::done(log_collection::delete(&cx, cluster_id, log_collection_id).await?))
}
