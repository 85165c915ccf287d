//! A receiver of webhooks that keeps what it gets and answers as it is told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Call {
    /// The value of a header; empty if it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The id that repeated requests share.
    #[must_use]
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// A running receiver; it ends with the test's runtime.
#[derive(Clone)]
pub struct Receiver {
    pub address: SocketAddr,
    calls: Arc<watch::Sender<Vec<Call>>>,
    answers: Arc<Mutex<VecDeque<u16>>>,
    held: Arc<watch::Sender<bool>>,
}

impl Receiver {
    /// Answers 204 to everything, on a port of its own.
    pub async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    /// The same on a given port.
    pub async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let receiver = Self {
            address: listener.local_addr().expect("a bound address"),
            calls: Arc::new(watch::Sender::new(Vec::new())),
            answers: Arc::default(),
            held: Arc::new(watch::Sender::new(false)),
        };
        let own = receiver.clone();
        let service = Router::new().fallback(move |request: Request| {
            let own = own.clone();
            async move { own.take(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, service).await });
        receiver
    }

    async fn take(&self, request: Request) -> StatusCode {
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        let call = Call { path: head.uri.path().to_owned(), headers: head.headers, body };
        let next = self.answers.lock().expect("no panic").pop_front();
        self.calls.send_modify(|calls| calls.push(call));
        let mut held = self.held.subscribe();
        // It ends with the receiver.
        let _ = held.wait_for(|held| !held).await;
        StatusCode::from_u16(next.unwrap_or(204)).expect("a status")
    }

    /// `http://…` and a path.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The statuses of the next answers.
    pub fn answer(&self, statuses: &[u16]) {
        self.answers.lock().expect("no panic").extend(statuses);
    }

    /// Answers nothing any more, or goes on to answer.
    pub fn hold(&self, held: bool) {
        self.held.send_replace(held);
    }

    /// Calls so far, oldest first.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.calls.borrow().clone()
    }

    /// The first `count` calls, waiting until they come.
    pub async fn first(&self, count: usize) -> Vec<Call> {
        let mut calls = self.calls.subscribe();
        let enough = calls.wait_for(|calls| calls.len() >= count);
        let calls = tokio::time::timeout(Duration::from_secs(60), enough).await;
        let calls = calls.unwrap_or_else(|_| panic!("{count} calls did not come within a minute"));
        calls.expect("a receiver that runs").iter().take(count).cloned().collect()
    }
}
