//! The status listener: is it alive, is it ready, what is in force, what was counted.

use std::sync::Arc;

use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header};
use pingora::{apps::http_app::ServeHttp, http::RequestHeader, protocols::http::ServerSession};

use crate::{scrape::scrape, state::State};

/// Answers about one gateway.
pub struct Monitor {
    pub state: Arc<State>,
}

#[async_trait]
impl ServeHttp for Monitor {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        if request.uri.path() == METRICS {
            return self.metrics(request).await;
        }
        let (status, kind, body) = self.answer(request.uri.path());
        let mut response = Response::new(body.into_bytes());
        *response.status_mut() = status;
        let length = response.body().len();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, length.into());
        response
    }
}

/// Where Prometheus looks.
const METRICS: &str = "/apisix/prometheus/metrics";

impl Monitor {
    async fn metrics(&self, request: &RequestHeader) -> Response<Vec<u8>> {
        let accepted = request.headers.get(header::ACCEPT_ENCODING);
        let is_packed = accepted.is_some_and(|value| {
            value.to_str().is_ok_and(|names| names.split(',').any(|name| name.trim() == "gzip"))
        });
        let text = scrape(Arc::clone(&self.state.shared), is_packed).await;
        let mut response = Response::new(text.to_vec());
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("text/plain; version=0.0.4");
        headers.insert(header::CONTENT_TYPE, kind);
        headers.insert(header::CONTENT_LENGTH, text.len().into());
        if is_packed {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

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
            _ => (StatusCode::NOT_FOUND, TEXT, "there is no such page\n".to_owned()),
        }
    }
}
