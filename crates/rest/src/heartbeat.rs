//! What gateways report about themselves.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use gantry_app::App;
use gantry_app::gateway::Identity;
use gantry_app::heartbeat::{self, Beat};
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
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Params(OfRun { run_id: run }): Params<OfRun>,
    Body(report): Body<Heartbeat>,
) -> Reply<HeartbeatResult> {
    let address = peer.map(|Extension(ConnectInfo(peer))| peer.ip().to_canonical().to_string());
    let beat = Beat { run, address: address.unwrap_or_default(), report };
    Ok(Answer::new(heartbeat::heartbeat(&app, &identity, beat).await?))
}
