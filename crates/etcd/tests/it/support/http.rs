//! HTTP/1.1 over TLS, as plain as APISIX speaks it: no content type, one connection.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::installation::{Bundle, Gateways};

/// Long enough for a loaded machine, short enough to notice what hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection.
pub struct Http {
    sender: SendRequest<Full<Bytes>>,
    token: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
}

impl Http {
    /// Connects with a client certificate, or without.
    pub async fn connect(to: &Gateways, bundle: Option<&Bundle>) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(to.address).await?;
        let name = "localhost".try_into().expect("a name");
        let tls = to.tls_client(bundle).connect(name, tcp).await?;
        let (sender, connection) =
            handshake(TokioIo::new(tls)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        Ok(Self { sender, token: None })
    }

    /// Sends `token` with every request from now on, as APISIX does: bare.
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    pub async fn get(&mut self, path: &str) -> std::io::Result<Answer> {
        self.answer("GET", path, String::new()).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.answer("POST", path, body.to_string()).await.expect("the request is answered")
    }

    /// Opens a stream: its lines, one by one.
    pub async fn stream(&mut self, path: &str, body: &Value) -> Lines {
        let response = self.send("POST", path, body.to_string()).await.expect("it is answered");
        assert_eq!(response.status(), StatusCode::OK);
        Lines { body: response.into_body(), buffer: BytesMut::new() }
    }

    async fn answer(&mut self, method: &str, path: &str, body: String) -> std::io::Result<Answer> {
        let response = self.send(method, path, body).await?;
        let status = response.status();
        let collected = tokio::time::timeout(PATIENCE, response.into_body().collect());
        let bytes =
            collected.await.expect("an answer ends").map_err(std::io::Error::other)?.to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Ok(Answer { status, body })
    }

    async fn send(
        &mut self,
        method: &str,
        path: &str,
        body: String,
    ) -> std::io::Result<http::Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(path).header("host", "127.0.0.1");
        if let Some(token) = &self.token {
            request = request.header("authorization", token);
        }
        let request = request.body(Full::new(body.into())).expect("a valid request");
        self.sender.ready().await.map_err(std::io::Error::other)?;
        let response = tokio::time::timeout(PATIENCE, self.sender.send_request(request));
        response.await.expect("an answer starts").map_err(std::io::Error::other)
    }
}

/// The lines of a streamed answer.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    /// The next line, or `None` when the stream has ended.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return Some(serde_json::from_slice(&line).expect("a line is JSON"));
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame());
            let frame = frame.await.expect("a line comes in time")?.ok()?;
            self.buffer.extend_from_slice(frame.data_ref().expect("no trailers"));
        }
    }

    /// The `result` of the next line.
    pub async fn result(&mut self) -> Value {
        let mut line = self.next().await.expect("the stream goes on");
        line["result"].take()
    }

    /// Whether nothing comes for a while that is long for a machine.
    pub async fn is_silent(&mut self) -> bool {
        let quiet = Duration::from_millis(300);
        tokio::time::timeout(quiet, self.body.frame()).await.is_err() && self.buffer.is_empty()
    }
}
