//! Consumers of a cluster.

use gantry_app::{consumer, consumer_jwt};
use gantry_model::config::{Consumer, ConsumerSpec, JwtRequest};
use gantry_model::{Id, Page};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfConsumer {
    cluster_id: Id,
    consumer_id: Id,
}

/// Contract, schema `JWTResult`.
#[derive(Serialize)]
pub struct Issued {
    token: String,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<Consumer>> {
    Ok(Answer::new(consumer::list(&cx, cluster_id, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(spec): Body<ConsumerSpec>,
) -> Reply<Consumer> {
    Ok(Answer::written(consumer::create(&cx, cluster_id, spec).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfConsumer { cluster_id, consumer_id }): Params<OfConsumer>,
) -> Reply<Consumer> {
    Ok(Answer::new(consumer::get(&cx, cluster_id, consumer_id).await?))
}

pub async fn replace(
    Caller(cx): Caller,
    Params(OfConsumer { cluster_id, consumer_id }): Params<OfConsumer>,
    Body(spec): Body<ConsumerSpec>,
) -> Reply<Consumer> {
    Ok(Answer::written(consumer::replace(&cx, cluster_id, consumer_id, spec).await?))
}

pub async fn patch(
    Caller(cx): Caller,
    Params(OfConsumer { cluster_id, consumer_id }): Params<OfConsumer>,
    Body(change): Body<Map<String, Value>>,
) -> Reply<Consumer> {
    Ok(Answer::written(consumer::patch(&cx, cluster_id, consumer_id, change).await?))
}

pub async fn delete(
    Caller(cx): Caller,
    Params(OfConsumer { cluster_id, consumer_id }): Params<OfConsumer>,
) -> Reply<()> {
    Ok(Answer::done(consumer::delete(&cx, cluster_id, consumer_id).await?))
}

pub async fn issue_jwt(
    Caller(cx): Caller,
    Params(OfConsumer { cluster_id, consumer_id }): Params<OfConsumer>,
    Body(request): Body<JwtRequest>,
) -> Reply<Issued> {
    let written = consumer_jwt::create(&cx, cluster_id, consumer_id, request).await?;
    Ok(Answer::written(written).map(|token| Issued { token }))
}
