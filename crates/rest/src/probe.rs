//! For those who run the server: is it alive, is it ready, what does it speak.

use axum::Json;
use axum::extract::State;
use gantry_app::App;
use serde_json::Value;

use crate::answer::{Answer, Reply};
use crate::contract;

/// The process answers.
pub async fn healthy() -> Answer<()> {
    Answer::empty()
}

/// The database answers too.
pub async fn ready(State(app): State<App>) -> Reply<()> {
    app.ready().await?;
    Ok(Answer::empty())
}

/// The contract with Gantry's additions.
pub async fn contract() -> Json<&'static Value> {
    Json(&contract::contract().document)
}
