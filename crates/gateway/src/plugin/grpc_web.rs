//! grpc-web: lets browsers call gRPC services. Requests and responses are the same frames in both,
//! plain or in base64; trailers come as one more frame of the body. The method to call is what the
//! route's pattern leaves open: `/web/*` calls `/a.B/C` for `/web/a.B/C`.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{BodyLimit, Flow, Kind, Place, Plugin, body, config, url};
use crate::{
    answer::Answer,
    exchange::{Exchange, Source},
};

pub(super) const KIND: Kind = Kind { name: "grpc-web", compile: GrpcWeb::compile, identify: None };

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// The first byte of a frame that holds trailers.
const TRAILERS: u8 = 0x80;

#[derive(Deserialize)]
struct Config {
    cors_allow_headers: String,
    max_req_body_size: u64,
}

struct GrpcWeb {
    allowed_headers: HeaderValue,
    body_max: u64,
}

/// A call under way, left in [`Exchange::notes`].
#[derive(Clone)]
pub struct Call {
    /// How the client spells the content type.
    kind: HeaderValue,
    /// Whether bodies are base64.
    text: bool,
    /// Letters of the request that are no group of four yet.
    rest: Vec<u8>,
    /// Whether the response is one of gRPC.
    answered: bool,
}

impl GrpcWeb {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        Ok(Arc::new(Self {
            allowed_headers: config::header_value(&config.cors_allow_headers)?,
            body_max: config.max_req_body_size,
        }))
    }

    fn preflight(&self) -> Answer {
        Answer::text(StatusCode::NO_CONTENT, "")
            .header(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"))
            .header(header::ACCESS_CONTROL_ALLOW_HEADERS, self.allowed_headers.clone())
    }
}

impl Plugin for GrpcWeb {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if request.method == Method::OPTIONS {
            return self.preflight().into();
        }
        if request.method != Method::POST {
            return refuse(StatusCode::METHOD_NOT_ALLOWED, "gRPC-Web calls are POST requests");
        }
        let Some((kind, text)) = content_type(request) else {
            return refuse(StatusCode::BAD_REQUEST, "the content type is none of gRPC-Web");
        };
        let Some(method) = method(exchange, request) else {
            return refuse(StatusCode::BAD_REQUEST, "the route has no pattern that ends with `*`");
        };
        exchange.outgoing.target = Some(method);
        let BodyLimit(limit) = *exchange.notes.get_or_insert(BodyLimit(self.body_max));
        exchange.notes.insert(BodyLimit(limit.min(self.body_max)));
        exchange.notes.insert(Call { kind, text, rest: Vec::new(), answered: false });
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        // Setting headers fails only if the map is full.
        if !response.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN) {
            let _ = response.insert_header(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
        }
        let exposed = HeaderValue::from_static("grpc-message,grpc-status");
        let _ = response.insert_header(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        let proxied = exchange.response.source == Source::Upstream;
        let grpc = response.headers.get(header::CONTENT_TYPE);
        let grpc = grpc.is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
        let Some(call) = exchange.notes.get_mut::<Call>().filter(|_| proxied && grpc) else {
            return;
        };
        call.answered = true;
        let _ = response.insert_header(header::CONTENT_TYPE, call.kind.clone());
        body::has_unknown_length(exchange, request, response);
    }

    fn reads_bodies(&self) -> bool {
        true
    }

    fn response_body(&self, exchange: &mut Exchange, piece: &mut Option<Bytes>, _end: bool) {
        let call = exchange.notes.get::<Call>().filter(|call| call.answered && call.text);
        if call.is_some()
            && let Some(plain) = piece.as_ref().filter(|plain| !plain.is_empty())
        {
            *piece = Some(STANDARD.encode(plain).into());
        }
    }
}

impl Call {
    /// Makes the request one of gRPC.
    pub fn head(exchange: &Exchange, request: &mut RequestHeader) -> pingora::Result<()> {
        let Some(call) = exchange.notes.get::<Self>() else { return Ok(()) };
        request.insert_header(header::CONTENT_TYPE, GRPC)?;
        request.insert_header(header::TE, "trailers")?;
        // The decoded body is shorter; HTTP/2 says where it ends.
        if call.text {
            request.remove_header(&header::CONTENT_LENGTH);
        }
        Ok(())
    }

    /// Takes the base64 off a piece of the request's body that begins `offset` bytes into it. False
    /// if it is none.
    #[must_use]
    pub fn body(
        exchange: &mut Exchange,
        offset: u64,
        piece: &mut Option<Bytes>,
        end: bool,
    ) -> bool {
        let Some(call) = exchange.notes.get_mut::<Self>().filter(|call| call.text) else {
            return true;
        };
        if offset == 0 {
            call.rest.clear();
        }
        let mut letters = std::mem::take(&mut call.rest);
        letters.extend_from_slice(piece.as_deref().unwrap_or(&[]));
        call.rest = letters.split_off(letters.len() / 4 * 4);
        let mut plain = Vec::with_capacity(letters.len() / 4 * 3);
        // Pieces may have been padded by themselves, so every group is decoded by itself.
        let decoded = letters.chunks(4).all(|group| STANDARD.decode_vec(group, &mut plain).is_ok());
        *piece = Some(plain.into());
        decoded && (!end || call.rest.is_empty())
    }

    /// The trailers of the response as a frame of its body.
    #[must_use]
    pub fn trailers(exchange: &Exchange, trailers: &HeaderMap) -> Option<Bytes> {
        let call = exchange.notes.get::<Self>().filter(|call| call.answered)?;
        let mut lines = BytesMut::new();
        for (name, value) in trailers {
            lines.put_slice(name.as_str().as_bytes());
            lines.put_slice(b":");
            lines.put_slice(value.as_bytes());
            lines.put_slice(b"\r\n");
        }
        let mut frame = BytesMut::with_capacity(lines.len() + 5);
        frame.put_u8(TRAILERS);
        frame.put_u32(u32::try_from(lines.len()).ok()?);
        frame.put_slice(&lines);
        Some(if call.text { STANDARD.encode(&frame).into() } else { frame.freeze() })
    }
}

fn refuse(status: StatusCode, reason: &str) -> Flow {
    Answer::json(status, &json!({ "error_msg": reason })).into()
}

/// How the client spells the content type, and whether its bodies are base64.
fn content_type(request: &RequestHeader) -> Option<(HeaderValue, bool)> {
    let kind = request.headers.get(header::CONTENT_TYPE)?;
    let text = match kind.to_str().ok()?.split(';').next()?.trim() {
        "application/grpc-web" | "application/grpc-web+proto" => false,
        "application/grpc-web-text" | "application/grpc-web-text+proto" => true,
        _ => return None,
    };
    Some((kind.clone(), text))
}

/// What the route's pattern leaves open, as a path.
fn method(exchange: &Exchange, request: &RequestHeader) -> Option<String> {
    let candidate = exchange.route.as_ref()?;
    let pattern = candidate.route.matcher.patterns().get(candidate.pattern as usize)?;
    let open = exchange.path(request).strip_prefix(pattern.text().strip_suffix('*')?)?;
    let mut path = "/".to_owned();
    url::encode_path(open.trim_start_matches('/'), &mut path);
    Some(path)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::snapshot::Snapshot;

    fn exchange(text: bool) -> Exchange {
        let mut exchange = Exchange::new(Arc::new(Snapshot::default()));
        exchange.notes.insert(Call { kind: GRPC, text, rest: Vec::new(), answered: true });
        exchange
    }

    /// The plain body, if all pieces are base64.
    fn decoded(pieces: &[&'static str]) -> Option<Vec<u8>> {
        let (mut exchange, mut plain, mut offset) = (exchange(true), Vec::new(), 0);
        for (index, piece) in pieces.iter().enumerate() {
            let mut body = Some(Bytes::from(*piece));
            let end = index + 1 == pieces.len();
            if !Call::body(&mut exchange, offset, &mut body, end) {
                return None;
            }
            offset += piece.len() as u64;
            plain.extend_from_slice(&body.unwrap());
        }
        Some(plain)
    }

    #[test]
    fn base64_comes_in_pieces_of_any_size() {
        for pieces in
            [&["YWJjZA=="][..], &["YWJj", "ZA=="], &["Y", "WJjZ", "A=", "="], &["YQ==YmNk"]]
        {
            assert_eq!(decoded(pieces).as_deref(), Some(&b"abcd"[..]), "{pieces:?}");
        }
        assert_eq!(decoded(&["YWJ"]), None);
        assert_eq!(decoded(&["!!!!"]), None);
    }

    #[test]
    fn trailers_are_a_frame() {
        let trailers = HeaderMap::from_iter([(
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("0"),
        )]);
        let frame = Call::trailers(&exchange(false), &trailers).unwrap();
        assert_eq!(&*frame, b"\x80\0\0\0\x0fgrpc-status:0\r\n");
        let text = Call::trailers(&exchange(true), &trailers).unwrap();
        assert_eq!(STANDARD.decode(text).unwrap(), frame);
    }
}
