//! What gzip and brotli have in common: which responses are compressed, and piece by piece how.

use std::{
    fmt,
    io::{self, Write},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version,
    header::{ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_TYPE, ETAG, VARY},
};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;

use super::{body, identity};
use crate::{exchange::Exchange, request::length};

/// Which responses are compressed.
pub struct Rules {
    /// The name of the coding, as in `Accept-Encoding`.
    pub coding: &'static str,
    /// None is all.
    pub types: Option<Vec<String>>,
    pub length_min: u64,
    /// Older requests get plain responses.
    pub version: Version,
    /// Whether caches are told that the response depends on the request.
    pub vary: bool,
}

/// `types` of a configuration.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Types {
    Some(Vec<String>),
    /// Every type, written as `*`.
    All(serde::de::IgnoredAny),
}

impl Types {
    pub fn compile(self) -> Option<Vec<String>> {
        match self {
            Self::Some(types) => Some(types),
            Self::All(_) => None,
        }
    }
}

/// `http_version` of a configuration.
pub fn version(number: f64) -> Version {
    if number < 1.1 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// A compressor that writes into memory.
pub trait Encoder: Write + Send {
    /// Hands out what has been written.
    fn take(&mut self) -> Vec<u8>;
    /// Writes what is still inside. Nothing is written any more after that.
    fn finish(&mut self) -> io::Result<()>;
}

/// The response being compressed, left in [`Exchange::notes`] by the header phase. There is one at
/// most: whoever comes later finds it encoded.
#[derive(Clone)]
struct Running {
    owner: usize,
    encoder: Arc<Mutex<Box<dyn Encoder>>>,
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl Rules {
    /// Looks at a response's head and announces what `encoder` will do to its body.
    pub fn begin(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
        encoder: impl FnOnce() -> Box<dyn Encoder>,
    ) {
        if !self.fits(request, response) {
            return;
        }
        // Setting headers fails only if the map is full; then the response stays plain.
        if self.vary && response.append_header(VARY, "Accept-Encoding").is_err() {
            return;
        }
        if !accepts(&request.headers, self.coding)
            || response.insert_header(CONTENT_ENCODING, self.coding).is_err()
        {
            return;
        }
        body::has_unknown_length(exchange, request, response);
        response.remove_header(&ACCEPT_RANGES);
        weaken(response);
        let encoder = Arc::new(Mutex::new(encoder()));
        exchange.notes.insert(Running { owner: identity(self), encoder });
    }

    /// Compresses a piece of the body. It goes to the client at once, so that nothing waits for
    /// what an upstream sends later.
    pub fn continues(&self, exchange: &mut Exchange, piece: &mut Option<Bytes>, end: bool) {
        let Some(Running { owner, encoder }) = exchange.notes.get::<Running>() else { return };
        if *owner != identity(self) {
            return;
        }
        let mut encoder = encoder.lock().unwrap_or_else(PoisonError::into_inner);
        let plain = piece.take().unwrap_or_default();
        if plain.is_empty() && !end {
            return;
        }
        // Writing into memory does not fail.
        let written = encoder
            .write_all(&plain)
            .and_then(|()| if end { encoder.finish() } else { encoder.flush() });
        if let Err(error) = written {
            tracing::error!(%error, "a response could not be compressed and is cut");
        }
        *piece = Some(encoder.take().into());
        drop(encoder);
        if end {
            exchange.notes.remove::<Running>();
        }
    }

    /// Whether nginx would compress this response for clients who like it.
    fn fits(&self, request: &RequestHeader, response: &ResponseHeader) -> bool {
        let text = |name: &HeaderName| response.headers.get(name)?.to_str().ok();
        let status = matches!(
            response.status,
            StatusCode::OK | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
        );
        let kind = text(&CONTENT_TYPE).and_then(|kind| kind.split(';').next()).unwrap_or("").trim();
        status
            // Its trailers end the body.
            && !kind.starts_with("application/grpc")
            && request.version >= self.version
            && request.method != Method::HEAD
            && !response.headers.contains_key(CONTENT_ENCODING)
            && length(&response.headers).is_none_or(|length| length >= self.length_min)
            && self.types.as_ref().is_none_or(|types| {
                types.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(kind))
            })
    }
}

/// Whether a client takes a coding: named with a weight above zero, or not named where `*` is.
fn accepts(headers: &HeaderMap, coding: &str) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|line| line.to_str().ok());
    let mut any = false;
    for item in lines.flat_map(|line| line.split(',')) {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let weight = parameters.split(';').find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().ok())?
        });
        let wanted = weight.is_none_or(|weight| weight > 0.0);
        match name.trim() {
            name if name.eq_ignore_ascii_case(coding) => return wanted,
            "*" => any = wanted,
            _ => {}
        }
    }
    any
}

/// The entity of a strong tag is another one now; a weak tag says that they mean the same.
fn weaken(response: &mut ResponseHeader) {
    let Some(tag) = response.headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/"))
    else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) if tag.as_bytes().starts_with(b"\"") => {
            let _ = response.insert_header(ETAG, weak);
        }
        _ => {
            response.remove_header(&ETAG);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_decide_what_a_client_takes() {
        for (accept, expected) in [
            ("gzip", true),
            ("GZIP;q=0.1", true),
            ("br, gzip ; q=1", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("*", true),
            ("*;q=0", false),
            ("br, identity", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, accept.parse().unwrap());
            assert_eq!(accepts(&headers, "gzip"), expected, "{accept}");
        }
        assert!(!accepts(&HeaderMap::new(), "gzip"));
    }

    #[test]
    fn responses_are_compressed_as_nginx_does() {
        let types = Some(vec!["text/html".to_owned()]);
        let (length_min, version) = (20, Version::HTTP_11);
        let rules = Rules { coding: "gzip", types, length_min, version, vary: false };
        let fits = |request: &[u8], version, status: u16, headers: &[(&'static str, &str)]| {
            let mut request = RequestHeader::build(request, b"/", None).unwrap();
            request.set_version(version);
            let mut response = ResponseHeader::build(status, None).unwrap();
            for (name, value) in headers {
                response.insert_header(*name, *value).unwrap();
            }
            rules.fits(&request, &response)
        };
        let html = ("content-type", "Text/HTML; charset=x");
        for (status, expected) in
            [(200, true), (403, true), (404, true), (201, false), (206, false), (500, false)]
        {
            assert_eq!(fits(b"GET", Version::HTTP_11, status, &[html]), expected, "{status}");
        }
        assert!(!fits(b"HEAD", Version::HTTP_11, 200, &[html]));
        assert!(!fits(b"GET", Version::HTTP_10, 200, &[html]));
        assert!(fits(b"GET", Version::HTTP_2, 200, &[html]));
        for (header, expected) in [
            (("content-length", "19"), false),
            (("content-length", "20"), true),
            (("content-encoding", "br"), false),
            (("content-type", "text/css"), false),
        ] {
            assert_eq!(
                fits(b"GET", Version::HTTP_11, 200, &[html, header]),
                expected,
                "{header:?}"
            );
        }
    }

    #[test]
    fn strong_tags_become_weak() {
        for (tag, expected) in
            [("\"a\"", Some("W/\"a\"")), ("W/\"a\"", Some("W/\"a\"")), ("bare", None)]
        {
            let mut response = ResponseHeader::build(200, None).unwrap();
            response.insert_header(ETAG, tag).unwrap();
            weaken(&mut response);
            let found = response.headers.get(ETAG).map(|tag| tag.to_str().unwrap());
            assert_eq!(found, expected);
        }
    }
}
