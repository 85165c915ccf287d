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
    let (user, password) = parse(header.as_bytes()).ok_or("Invalid authorization in request")?;
    let credential = exchange.credential("basic-auth", &user);
    let expected = credential.as_ref().and_then(|credential| credential.secret::<Password>());
    match (credential.as_ref(), expected) {
        (Some(found), Some(Password(expected)))
            if expected.as_bytes().ct_eq(password.as_bytes()).into() =>
        {
            Ok(Arc::clone(found))
        }
        _ => Err("Invalid user authorization"),
    }
}

/// User and password as APISIX reads them: what follows a second `:` is dropped, and so is all
/// white space.
fn parse(header: &[u8]) -> Option<(String, String)> {
    let (scheme, encoded) = std::str::from_utf8(header).ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, rest) = decoded.split_once(':')?;
    let password = rest.split(':').next().unwrap_or(rest);
    let dense = |text: &str| text.split_ascii_whitespace().collect::<String>();
    Some((dense(user), dense(password)))
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

    fn parsed(text: &str) -> Option<(String, String)> {
        parse(format!("BASIC {}", STANDARD.encode(text)).as_bytes())
    }

    #[test]
    fn the_first_two_fields_count_without_white_space() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(parsed("foo:bar"), pair("foo", "bar"));
        assert_eq!(parsed("f oo: b\tar:baz"), pair("foo", "bar"));
        assert_eq!(parsed("foo:"), pair("foo", ""));
    }

    #[test]
    fn anything_else_is_no_authorization() {
        assert_eq!(parsed("foo"), None);
        assert_eq!(parse(b"Bearer Zm9vOmJhcg=="), None);
        assert_eq!(parse(b"Basic Zm9v%%"), None);
        assert_eq!(parse(b"Basic"), None);
    }
}
