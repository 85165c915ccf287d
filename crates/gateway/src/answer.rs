//! Answers the gateway gives itself, in the words clients of APISIX know.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use serde_json::Value;

/// A complete answer to a request that does not reach an upstream.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Body,
}

/// The body of an [`Answer`].
#[derive(Debug, Clone)]
pub enum Body {
    /// The stock HTML page of the status.
    Page,
    /// The text as it is.
    Text(Bytes),
}

impl Answer {
    /// A bare status with the server's stock page.
    #[must_use]
    pub fn page(status: StatusCode) -> Self {
        Self { status, headers: Vec::new(), body: Body::Page }
    }

    /// A text, sent verbatim.
    #[must_use]
    pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Self {
        Self { status, headers: Vec::new(), body: Body::Text(text.into()) }
    }

    /// A JSON value and a final newline. The content type stays the server's default, text/plain.
    #[must_use]
    pub fn json(status: StatusCode, value: &Value) -> Self {
        Self::text(status, format!("{value}\n"))
    }

    /// A response of an upstream without its body.
    #[must_use]
    pub fn like(response: &ResponseHeader) -> Self {
        let framing = [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let kept = response.headers.iter().filter(|(name, _)| !framing.contains(name));
        let headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { status: response.status, headers, body: Body::Text(Bytes::new()) }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The head and the body to send. Cannot fail except for a header map that is full.
    pub fn render(self) -> pingora::Result<(ResponseHeader, Bytes)> {
        let (body, kind) = match self.body {
            Body::Page => (page(self.status), "text/html; charset=utf-8"),
            Body::Text(text) => (text, "text/plain; charset=utf-8"),
        };
        let mut head = ResponseHeader::build(self.status, Some(self.headers.len() + 4))?;
        for (name, value) in self.headers {
            head.append_header(name, value)?;
        }
        if !head.headers.contains_key(header::CONTENT_TYPE) && !body.is_empty() {
            head.insert_header(header::CONTENT_TYPE, kind)?;
        }
        Ok((head, body))
    }
}

fn page(status: StatusCode) -> Bytes {
    let (code, reason) = (status.as_u16(), status.canonical_reason().unwrap_or(""));
    let reason = match code {
        302 => "Found",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        _ => reason,
    };
    if status.is_success() || status.is_informational() || code == 304 {
        return Bytes::new();
    }
    Bytes::from(format!(
        "<html>\r\n<head><title>{code} {reason}</title></head>\r\n<body>\r\n\
         <center><h1>{code} {reason}</h1></center>\r\n<hr><center>gantry</center>\r\n</body>\r\n</html>\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_ends_with_a_newline_and_stays_plain_text() {
        let answer = Answer::json(StatusCode::UNAUTHORIZED, &json!({"message": "no"}));
        let (head, body) = answer.render().unwrap();
        assert_eq!(body, "{\"message\":\"no\"}\n");
        assert_eq!(head.headers["content-type"], "text/plain; charset=utf-8");
    }

    #[test]
    fn a_bare_code_becomes_the_stock_page() {
        let (head, body) = Answer::page(StatusCode::SERVICE_UNAVAILABLE).render().unwrap();
        assert_eq!(head.headers["content-type"], "text/html; charset=utf-8");
        assert!(body.starts_with(b"<html>\r\n<head><title>503 Service Temporarily Unavailable"));
    }
}
