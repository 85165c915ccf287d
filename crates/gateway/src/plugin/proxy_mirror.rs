//! proxy-mirror: sends a copy of a share of the requests to another host and ignores the answers. The
//! request itself goes its way. A copy is sent once the whole request has passed, so that one that the
//! client breaks off is not copied; until then its body is held in memory. A body of more than 64 MiB
//! is not copied, and neither is one for which the room that all bodies share (256 MiB) is too small.

use std::{
    convert::Infallible,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};
use pingora::http::RequestHeader;
use reqwest::{Client, redirect};
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, Shared, config, room::Claim, url};
use crate::{exchange::Exchange, request};

pub(super) const KIND: Kind =
    Kind { name: "proxy-mirror", compile: ProxyMirror::compile, identify: None };

/// A larger body is not copied, in bytes.
const BODY_MAX: usize = 64 << 20;

/// What a copy takes besides its body.
const OVERHEAD: usize = 16 << 10;

/// How long the other host may take.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Headers that belong to the connection, and what the copy gets anew.
const OWN: [HeaderName; 6] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
];

#[derive(Deserialize)]
struct Config {
    host: String,
    path: Option<String>,
    path_concat_mode: Mode,
    sample_ratio: f64,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Replace,
    Prefix,
}

struct ProxyMirror {
    shared: Arc<Shared>,
    /// Scheme and authority.
    base: String,
    grpc: bool,
    path: Option<String>,
    mode: Mode,
    ratio: f64,
}

/// What sends copies, for all mirrors of a gateway; made when the first copy is sent.
#[derive(Default)]
pub struct Clients {
    http: OnceLock<Option<Client>>,
    grpc: OnceLock<Option<Client>>,
}

/// The copies of a request, left in [`Exchange::notes`] by the mirrors that chose it.
#[derive(Clone, Default)]
pub struct Copies(Vec<Copy>);

#[derive(Clone)]
struct Copy {
    shared: Arc<Shared>,
    url: String,
    grpc: bool,
    /// What the first try sent to the upstream.
    head: Option<(Method, http::HeaderMap)>,
    /// The body so far; each piece with the room it takes.
    pieces: Vec<(Bytes, Claim)>,
    length: usize,
    /// The room for everything else.
    claim: Claim,
}

impl ProxyMirror {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let grpc = config.host.starts_with("grpc");
        let base = match config.host.split_once("://") {
            Some(("grpc", host)) => format!("http://{host}"),
            Some(("grpcs", host)) => format!("https://{host}"),
            _ => config.host,
        };
        Ok(Arc::new(Self {
            shared: Arc::clone(place.shared),
            base,
            grpc,
            path: config.path,
            mode: config.path_concat_mode,
            ratio: config.sample_ratio,
        }))
    }

    fn url(&self, exchange: &Exchange, request: &RequestHeader) -> String {
        let mut url = self.base.clone();
        url.push_str(self.path.as_deref().unwrap_or(""));
        if self.path.is_none() || self.mode == Mode::Prefix {
            match &exchange.path {
                None => url.push_str(request.uri.path()),
                Some(path) => url::encode_path(path, &mut url),
            }
        }
        // What authentication has hidden is none of the other host's business either.
        if let Some(query) = url::query(exchange, request) {
            url.push('?');
            url.push_str(query);
        }
        url
    }
}

impl Plugin for ProxyMirror {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if self.ratio < 1.0 && rand::random::<f64>() >= self.ratio {
            return Flow::Next;
        }
        let Some(claim) = self.shared.room.claim(OVERHEAD) else { return Flow::Next };
        let copy = Copy {
            shared: Arc::clone(&self.shared),
            url: self.url(exchange, request),
            grpc: self.grpc,
            head: None,
            pieces: Vec::new(),
            length: 0,
            claim,
        };
        exchange.notes.get_or_insert_default::<Copies>().0.push(copy);
        Flow::Next
    }
}

impl Copies {
    /// Notes what the upstream gets to see; a request without a body is copied at once.
    pub fn head(exchange: &mut Exchange, request: &RequestHeader, bodiless: bool) {
        let Some(Self(copies)) = exchange.notes.get_mut() else { return };
        for copy in copies.iter_mut().filter(|copy| copy.head.is_none()) {
            let mut headers = request.headers.clone();
            for name in &OWN {
                headers.remove(name);
            }
            if !headers.contains_key(header::HOST)
                && let Ok(host) = HeaderValue::from_str(request::authority(request))
            {
                headers.insert(header::HOST, host);
            }
            copy.head = Some((request.method.clone(), headers));
        }
        if bodiless {
            Self::body(exchange, 0, None, true);
        }
    }

    /// Adds a piece of the body that begins `offset` bytes into it; a repeated one is passed over.
    /// The last piece sends the copies.
    pub fn body(exchange: &mut Exchange, offset: u64, piece: Option<&Bytes>, end: bool) {
        let Some(Self(copies)) = exchange.notes.get_mut() else { return };
        if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
            copies.retain_mut(|copy| copy.add(offset, piece));
        }
        if end {
            let copies = exchange.notes.remove::<Self>().unwrap_or_default();
            copies.0.into_iter().for_each(Copy::send);
        }
    }
}

impl Copy {
    /// False gives the copy up.
    fn add(&mut self, offset: u64, piece: &Bytes) -> bool {
        if offset != self.length as u64 {
            return true;
        }
        self.length = self.length.saturating_add(piece.len());
        let claim = self.shared.room.claim(piece.len()).filter(|_| self.length <= BODY_MAX);
        claim.map(|claim| self.pieces.push((piece.clone(), claim))).is_some()
    }

    fn send(self) {
        let Self { shared, url, grpc, head, pieces, length, claim } = self;
        let Some((method, headers)) = head else { return };
        let clients = Arc::clone(&shared);
        shared.background.spawn(async move {
            let Some(client) = clients.mirrors.get(grpc) else { return };
            let mut request = client.request(method, &url).headers(headers);
            if length > 0 {
                // Each piece gives its room back when it is sent.
                let pieces = pieces.into_iter().map(|(piece, _claim)| Ok::<_, Infallible>(piece));
                let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces));
                request = request.header(header::CONTENT_LENGTH, length).body(body);
            }
            if let Err(error) = request.send().await {
                tracing::debug!(%error, "a copy of a request was not taken");
            }
            drop(claim);
        });
    }
}

impl Clients {
    fn get(&self, grpc: bool) -> Option<&Client> {
        let builder = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .tls_danger_accept_invalid_certs(true);
        let (place, builder) = match grpc {
            true => (&self.grpc, builder.http2_prior_knowledge()),
            false => (&self.http, builder.http1_only()),
        };
        let build = || builder.build().inspect_err(|error| tracing::error!(%error, "no mirror"));
        place.get_or_init(|| build().ok()).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy() -> Copy {
        let (shared, url) = (Arc::<Shared>::default(), String::new());
        let claim = shared.room.claim(OVERHEAD).unwrap();
        Copy { shared, url, grpc: false, head: None, pieces: Vec::new(), length: 0, claim }
    }

    #[test]
    fn a_repeated_body_is_copied_once() {
        let mut copy = copy();
        for (offset, piece) in [(0, "ab"), (0, "ab"), (2, "c"), (0, "ab"), (2, "c"), (3, "d")] {
            assert!(copy.add(offset, &Bytes::from(piece)));
        }
        let pieces: Vec<_> = copy.pieces.iter().map(|(piece, _)| piece).collect();
        assert_eq!(pieces, ["ab", "c", "d"]);
    }

    #[test]
    fn a_body_that_is_too_large_is_given_up() {
        let mut copy = copy();
        assert!(copy.add(0, &vec![0; BODY_MAX].into()));
        assert!(!copy.add(BODY_MAX as u64, &Bytes::from("x")));
    }
}
