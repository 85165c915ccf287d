//! Metrics: what gateways report and what people ask about a cluster.

use axum::Extension;
use axum::extract::State;
use gantry_app::App;
use gantry_app::gateway::Identity;
use gantry_app::metrics;
use gantry_model::Id;
use gantry_model::metrics::{MetricType, MetricsPayload, MetricsQuery, MetricsReport};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, Params};
use crate::heartbeat::OfRun;

#[derive(Deserialize)]
pub struct OfType {
    cluster_id: Id,
    metric_type: MetricType,
}

pub async fn report(
    State(app): State<App>,
    Extension(identity): Extension<Identity>,
    Params(OfRun { run_id }): Params<OfRun>,
    Body(report): Body<MetricsReport>,
) -> Reply<()> {
    let warning = metrics::report(&app, &identity, run_id, report).await?;
    Ok(Answer::empty().with_warning(warning))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfType { cluster_id, metric_type }): Params<OfType>,
    Params(query): Params<MetricsQuery>,
) -> Reply<MetricsPayload> {
    Ok(Answer::new(metrics::query(&cx, cluster_id, metric_type, query).await?))
}
