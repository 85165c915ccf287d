//! What gateways report about themselves.

use axum::Extension;
use axum::extract::State;
use gantry_app::App;
use gantry_app::gateway::{self, Identity};
use gantry_model::instance::{Heartbeat, HeartbeatResult};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Params};

#[derive(Deserialize)]
pub struct OfRun {
    #[serde(rename = "X-APISEVEN-Run-Id")]
    pub run_id: String,
}

pub async fn report(
    State(app): State<App>,
    Extension(identity): Extension<Identity>,
    Params(OfRun { run_id }): Params<OfRun>,
    Body(heartbeat): Body<Heartbeat>,
) -> Reply<HeartbeatResult> {
    Ok(Answer::new(gateway::heartbeat(&app, &identity, &run_id, heartbeat).await?))
}
