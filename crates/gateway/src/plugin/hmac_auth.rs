//! hmac-auth: a request signed with a consumer's secret.

use std::{collections::BTreeSet, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use gantry_routing::vars::Vars;
use hmac::{Hmac, KeyInit, Mac};
use http::{
    StatusCode,
    header::{AUTHORIZATION, DATE},
};
use jiff::{Timestamp, civil::DateTime, fmt::rfc2822::DateTimeParser, tz::TimeZone};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

use super::{
    BodyWanted, Flow, Identity, Kind, Place, Plugin,
    auth::{Gate, Refusal},
    config,
};
use crate::{answer::Answer, consumer::Credential, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "hmac-auth", compile: HmacAuth::compile, identify: Some(identify) };

const INVALID: Refusal = "client request can't be validated";
const MISSING: Refusal = "client request can't be validated: missing Authorization header";
const FOREIGN: Refusal = "client request can't be validated: Authorization header does not start \
                          with 'Signature'";

#[derive(Deserialize)]
struct Config {
    allowed_algorithms: BTreeSet<String>,
    clock_skew: i64,
    signed_headers: Vec<String>,
    validate_request_body: bool,
    hide_credentials: bool,
    realm: String,
    anonymous_consumer: Option<String>,
    max_req_body_size: u64,
}

struct HmacAuth {
    gate: Arc<Gate>,
    algorithms: BTreeSet<String>,
    /// Seconds by which the client's clock may differ.
    clock_skew: i64,
    signed_headers: Vec<String>,
    /// The most bytes of a body that is checked; None checks none.
    body_limit: Option<u64>,
    hide: bool,
}

/// What the Authorization header says.
struct Claim<'a> {
    key_id: &'a str,
    algorithm: &'a str,
    headers: &'a str,
    signature: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(request: &'a RequestHeader) -> Result<Self, Refusal> {
        let header = request.headers.get(AUTHORIZATION).ok_or(MISSING)?;
        let header = header.to_str().map_err(|_| INVALID)?;
        let fields = header.trim_start().strip_prefix("Signature").ok_or(FOREIGN)?;
        let field = |name: &str| {
            let mut fields = fields.split(',').filter_map(|field| field.trim().split_once('='));
            let (_, value) = fields.find(|(found, _)| *found == name)?;
            value.strip_prefix('"')?.strip_suffix('"').filter(|value| !value.contains('"'))
        };
        Ok(Self {
            key_id: field("keyId").ok_or(INVALID)?,
            algorithm: field("algorithm").ok_or(INVALID)?,
            headers: field("headers").unwrap_or(""),
            signature: field("signature").ok_or(INVALID)?,
        })
    }

    fn names(&self) -> impl Iterator<Item = &'a str> {
        self.headers.split_ascii_whitespace()
    }

    /// What the client has signed.
    fn text(&self, exchange: &Exchange, request: &RequestHeader) -> Vec<u8> {
        let mut text = [self.key_id.as_bytes(), b"\n"].concat();
        for name in self.names() {
            if let Some(value) = request.headers.get(name) {
                text.extend([name.as_bytes(), b": ", value.as_bytes(), b"\n"].concat());
            } else if name == "@request-target" {
                let facts = exchange.facts(request);
                let uri = facts.var("request_uri");
                let uri = uri.as_ref().and_then(|uri| uri.text()).unwrap_or_default();
                text.extend(format!("{} {uri}\n", request.method).into_bytes());
            }
        }
        text
    }
}

impl HmacAuth {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        Ok(Arc::new(Self {
            gate: Arc::new(Gate::new("hmac", &config.realm, config.anonymous_consumer)?),
            algorithms: config.allowed_algorithms,
            clock_skew: config.clock_skew,
            signed_headers: config.signed_headers,
            body_limit: config.validate_request_body.then_some(config.max_req_body_size),
            hide: config.hide_credentials,
        }))
    }

    fn authenticate(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Result<Arc<Credential>, Refusal> {
        let claim = Claim::parse(request)?;
        let credential = exchange.credential("hmac-auth", claim.key_id).ok_or(INVALID)?;
        let secret = credential.secret::<Secret>().ok_or(INVALID)?;
        let signed = |name: &String| claim.names().any(|found| found == name);
        let signature = STANDARD.decode(claim.signature).map_err(|_| INVALID)?;
        let good = self.algorithms.contains(claim.algorithm)
            && self.signed_headers.iter().all(signed)
            && self.in_time(request)
            && secret.verify(claim.algorithm, &claim.text(exchange, request), &signature);
        if good { Ok(credential) } else { Err(INVALID) }
    }

    fn in_time(&self, request: &RequestHeader) -> bool {
        let date = request.headers.get(DATE).map(http::HeaderValue::as_bytes);
        let date = date.and_then(http_date);
        date.is_some_and(|date| {
            let apart = Timestamp::now().as_second().abs_diff(date.as_second());
            i64::try_from(apart).is_ok_and(|apart| apart <= self.clock_skew)
        })
    }
}

/// A date in one of the forms that HTTP knows (RFC 9110, 5.6.7): that of mail, and the two that are
/// obsolete.
fn http_date(text: &[u8]) -> Option<Timestamp> {
    const MAIL: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    if let Ok(date) = MAIL.parse_timestamp(text) {
        return Some(date);
    }
    let obsolete = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let date = obsolete.into_iter().find_map(|form| DateTime::strptime(form, text).ok())?;
    TimeZone::UTC.to_timestamp(date).ok()
}

impl Plugin for HmacAuth {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let outcome = self.authenticate(exchange, request);
        if self.hide && (outcome.is_ok() || self.gate.admits_anybody()) {
            request.remove_header(&AUTHORIZATION);
        }
        let (Ok(credential), Some(limit)) = (&outcome, self.body_limit) else {
            return self.gate.settle(exchange, request, outcome);
        };
        let (gate, credential) = (Arc::clone(&self.gate), Arc::clone(credential));
        let message = json!({"message": format!("the body has more than {limit} bytes")});
        Flow::Body(Box::new(BodyWanted {
            limit,
            too_large: Answer::json(StatusCode::PAYLOAD_TOO_LARGE, &message),
            resume: Box::new(move |exchange, request| {
                let outcome =
                    if is_intact(exchange, request) { Ok(credential) } else { Err(INVALID) };
                gate.settle(exchange, request, outcome)
            }),
        }))
    }
}

/// Whether the body is the one whose digest the client gives.
fn is_intact(exchange: &Exchange, request: &RequestHeader) -> bool {
    let body = exchange.body.as_deref().unwrap_or_default();
    let expected = format!("SHA-256={}", STANDARD.encode(Sha256::digest(body)));
    let given = request.headers.get("digest");
    given.is_some_and(|given| given.as_bytes().ct_eq(expected.as_bytes()).into())
}

/// A consumer's secret, ready for each algorithm. Has no `Debug`, so that it cannot reach a log.
struct Secret {
    sha1: Hmac<Sha1>,
    sha256: Hmac<Sha256>,
    sha512: Hmac<Sha512>,
}

impl Secret {
    fn verify(&self, algorithm: &str, text: &[u8], signature: &[u8]) -> bool {
        match algorithm {
            "hmac-sha1" => fits(&self.sha1, text, signature),
            "hmac-sha256" => fits(&self.sha256, text, signature),
            "hmac-sha512" => fits(&self.sha512, text, signature),
            _ => false,
        }
    }
}

fn fits<M: Mac + Clone>(mac: &M, text: &[u8], signature: &[u8]) -> bool {
    mac.clone().chain_update(text).verify_slice(signature).is_ok()
}

#[derive(Deserialize)]
struct Key {
    key_id: String,
    secret_key: String,
}

fn identify(value: &Value) -> Result<Identity, String> {
    fn keyed<M: KeyInit>(secret: &str) -> Result<M, String> {
        M::new_from_slice(secret.as_bytes()).map_err(|error| error.to_string())
    }
    let Key { key_id, secret_key } = config::read(value)?;
    let secret = Secret {
        sha1: keyed(&secret_key)?,
        sha256: keyed(&secret_key)?,
        sha512: keyed(&secret_key)?,
    };
    Ok(Identity { key: key_id, secret: Box::new(secret) })
}
