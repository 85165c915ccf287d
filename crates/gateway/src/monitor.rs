//! The status listener: is it alive, is it ready, what is in force, what was counted.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, protocols::http::ServerSession};

use crate::state::State;

/// Answers about one gateway.
pub struct Monitor {
    pub state: Arc<State>,
}

#[async_trait]
impl ServeHttp for Monitor {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let path = session.req_header().uri.path();
        let (status, kind, body) = self.answer(path);
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, length.into());
        response
    }
}

impl Monitor {
    fn answer(&self, path: &str) -> (StatusCode, &'static str, String) {
        const TEXT: &str = "text/plain; charset=utf-8";
        const JSON: &str = "application/json";
        let status = &self.state.status;
        match path {
            "/live" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/ready" => {
                let code =
                    if status.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                (code, JSON, format!("{}\n", status.readiness()))
            }
            "/status" => (StatusCode::OK, JSON, format!("{}\n", self.state.describe())),
            "/apisix/prometheus/metrics" => {
                (StatusCode::OK, "text/plain; version=0.0.4", self.state.metrics())
            }
            _ => (StatusCode::NOT_FOUND, TEXT, "there is no such page\n".to_owned()),
        }
    }
}
