//! Alerts that were sent.

use gantry_app::alert_history;
use gantry_model::alert_history::AlertHistory;
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfHistory {
    cluster_id: Id,
    alert_history_id: Id,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<AlertHistory>> {
    Ok(Answer::new(alert_history::list(&cx, cluster_id, &query).await?))
}

pub async fn get(
    Caller(cx): Caller,
    Params(OfHistory { cluster_id, alert_history_id }): Params<OfHistory>,
) -> Reply<AlertHistory> {
    Ok(Answer::new(alert_history::get(&cx, cluster_id, alert_history_id).await?))
}
