//! basic-auth: user name and password of HTTP Basic against those of consumers.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::AUTHORIZATION;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq;

use super::{
    Flow, Identity, Kind, Place, Plugin,
    auth::{Gate, Refusal},
    config,
};
use crate::{consumer::Credential, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "basic-auth", compile: BasicAuth::compile, identify: Some(identify) };

const NOT_BASIC: Refusal = "Invalid authorization in request";
const UNKNOWN_USER: Refusal = "Invalid user authorization";

#[derive(Deserialize)]
struct Config {
    hide_credentials: bool,
    realm: String,
    anonymous_consumer: Option<String>,
}

struct BasicAuth {
    gate: Gate,
    hide: bool,
}

impl BasicAuth {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { hide_credentials: hide, realm, anonymous_consumer } = config::read(value)?;
        Ok(Arc::new(Self { gate: Gate::new("Basic", &realm, anonymous_consumer)?, hide }))
    }
}

impl Plugin for BasicAuth {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let outcome = authenticate(exchange, request);
        if self.hide && (outcome.is_ok() || self.gate.admits_anybody()) {
            request.remove_header(&AUTHORIZATION);
        }
        self.gate.settle(exchange, request, outcome)
    }
}

fn authenticate(exchange: &Exchange, request: &RequestHeader) -> Result<Arc<Credential>, Refusal> {
    let header = request.headers.get(AUTHORIZATION).ok_or("Missing authorization in request")?;
    let (user, password) = parse(header.as_bytes())?;
    let credential = exchange.credential("basic-auth", &user);
    let expected = credential.as_ref().and_then(|credential| credential.secret::<Password>());
    match (credential.as_ref(), expected) {
        (Some(found), Some(Password(expected)))
            if expected.as_bytes().ct_eq(password.as_bytes()).into() =>
        {
            Ok(Arc::clone(found))
        }
        _ => Err(UNKNOWN_USER),
    }
}

/// User and password as APISIX reads them: what follows a second `:` is dropped, and so is all
/// white space.
fn parse(header: &[u8]) -> Result<(String, String), Refusal> {
    let decoded = decode(header).ok_or(NOT_BASIC)?;
    let mut fields = decoded.split(|byte| *byte == b':');
    let (Some(user), Some(password)) = (fields.next(), fields.next()) else {
        return Err(NOT_BASIC);
    };
    // Nobody is called what is not text.
    let text = |field| std::str::from_utf8(field).map_err(|_| UNKNOWN_USER);
    let dense = |text: &str| text.split_ascii_whitespace().collect::<String>();
    Ok((dense(text(user)?), dense(text(password)?)))
}

fn decode(header: &[u8]) -> Option<Vec<u8>> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(encoded.trim()).ok())?
}

/// A consumer's password. Has no `Debug`, so that it cannot reach a log.
struct Password(String);

#[derive(Deserialize)]
struct Account {
    username: String,
    password: String,
}

fn identify(value: &Value) -> Result<Identity, String> {
    let Account { username, password } = config::read(value)?;
    Ok(Identity { key: username, secret: Box::new(Password(password)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: impl AsRef<[u8]>) -> Result<(String, String), Refusal> {
        parse(format!("BASIC {}", STANDARD.encode(text)).as_bytes())
    }

    #[test]
    fn the_first_two_fields_count_without_white_space() {
        let pair = |user: &str, password: &str| Ok((user.to_owned(), password.to_owned()));
        assert_eq!(parsed("foo:bar"), pair("foo", "bar"));
        assert_eq!(parsed("f oo: b\tar:baz"), pair("foo", "bar"));
        assert_eq!(parsed("foo:"), pair("foo", ""));
    }

    #[test]
    fn anything_else_is_no_authorization() {
        assert_eq!(parsed("foo"), Err(NOT_BASIC));
        for header in [&b"Bearer Zm9vOmJhcg=="[..], b"Basic Zm9v%%", b"Basic"] {
            assert_eq!(parse(header), Err(NOT_BASIC));
        }
    }

    #[test]
    fn what_is_no_text_is_nobody() {
        assert_eq!(parsed(b"\xff:\xff"), Err(UNKNOWN_USER));
        assert_eq!(parsed("José:geheim"), Ok(("José".to_owned(), "geheim".to_owned())));
    }
}
