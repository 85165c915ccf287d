//! A small HTTP service that says what reached it, so that the demo has something to forward to.

use axum::Router;
use axum::extract::Request;
use axum::response::Json;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
    axum::serve(listener, Router::new().fallback(echo))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn echo(request: Request) -> Json<Value> {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    Json(json!({
        "service": "gantry sample",
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "headers": headers,
    }))
}
