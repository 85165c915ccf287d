//! A backend that says what reached it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::response::Json;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Largest body a backend reads before it answers.
const BODY_BYTES_MAX: usize = 256 << 20;
/// How much of a body is told as text.
const BODY_TEXT_BYTES_MAX: usize = 4096;

/// A running backend; it ends with the test's runtime.
pub struct Origin {
    pub address: SocketAddr,
    requests: Arc<AtomicU64>,
}

impl Origin {
    /// Starts a backend that answers every request with
    /// `{name, method, path, query, headers, body, body_bytes}`.
    pub async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let requests = Arc::new(AtomicU64::new(0));
        let counter = requests.clone();
        let service = Router::new().fallback(move |request: Request| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                let (head, body) = request.into_parts();
                // A body that breaks off is answered too: nobody reads that answer.
                let body = axum::body::to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
                Json(describe(name, &head, &body))
            }
        });
        tokio::spawn(async move { axum::serve(listener, service).await });
        Self { address, requests }
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

fn describe(name: &str, request: &Parts, body: &[u8]) -> Value {
    let headers: serde_json::Map<String, Value> = request
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into()))
        .collect();
    json!({
        "name": name,
        "method": request.method.as_str(),
        "path": request.uri.path(),
        "query": request.uri.query(),
        "headers": headers,
        "body": body.get(..body.len().min(BODY_TEXT_BYTES_MAX)).map(String::from_utf8_lossy),
        "body_bytes": body.len(),
    })
}
