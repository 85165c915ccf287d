//! For those who run the server: is it alive, is it ready, what does it speak.

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use gantry_app::{App, telemetry};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use crate::answer::{Answer, Reply};
use crate::contract;
use crate::error::Failure;

/// The process answers.
pub async fn healthy() -> Answer<()> {
    Answer::empty()
}

/// The database, the log of revisions and work in the background are well too; if not, the answer
/// names what is not.
pub async fn ready(State(app): State<App>) -> Reply<()> {
    let ready = telemetry::ready(&app).await;
    ready.map_err(|error| Failure { error, status: StatusCode::SERVICE_UNAVAILABLE })?;
    Ok(Answer::empty())
}

/// The server's own account for Prometheus.
pub async fn metrics(State(app): State<App>) -> impl IntoResponse {
    const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(CONTENT_TYPE, FORMAT)], telemetry::text(&app).await)
}

/// The contract with Gantry's additions.
pub async fn contract() -> Json<&'static Value> {
    Json(&contract::contract().document)
}
