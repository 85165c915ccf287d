//! What plugins ask of other servers while a request waits.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use reqwest::{ClientBuilder, RequestBuilder, redirect::Policy};

/// Largest answer that [`send`] reads.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A whole answer of another server.
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// Whether the body went on beyond what was read of it.
    pub cut: bool,
}

/// A client that follows no redirect: a server that sends us elsewhere is not the one configured.
/// `verify` is whether certificates count.
pub fn client(verify: bool, timeout: Duration) -> ClientBuilder {
    let builder = ClientBuilder::new().timeout(timeout).redirect(Policy::none()).no_proxy();
    if verify { builder } else { builder.tls_danger_accept_invalid_certs(true) }
}

/// Sends a request and reads the answer. The error is a sentence for the log.
pub async fn send(request: RequestBuilder) -> Result<Reply, String> {
    let reply = receive(request, BODY_BYTES_MAX).await?;
    if reply.cut {
        return Err(format!("the answer has more than {BODY_BYTES_MAX} bytes"));
    }
    Ok(reply)
}

/// The same, but reads at most so many bytes of the body.
pub async fn receive(request: RequestBuilder, bytes_max: usize) -> Result<Reply, String> {
    let mut response = request.send().await.map_err(reason)?;
    let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
    let (mut body, mut cut) = (BytesMut::new(), false);
    while let Some(piece) = response.chunk().await.map_err(reason)? {
        if body.len() + piece.len() > bytes_max {
            cut = true;
            break;
        }
        body.extend_from_slice(&piece);
    }
    Ok(Reply { status, headers, body: body.freeze(), cut })
}

/// An error with what caused it, without the URL: its query may hold secrets.
fn reason(error: reqwest::Error) -> String {
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(&error.without_url());
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
