//! csrf: what changes something must show in a header that it can read the gateway's cookie. With
//! `expires` 0, for ever, the cookie has no `Expires`; APISIX writes the present time, and browsers
//! would drop the cookie at once.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderName, HeaderValue, Method, StatusCode, header::SET_COOKIE};
use jiff::Timestamp;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, clock::now, exchange::Exchange, request};

pub(super) const KIND: Kind = Kind { name: "csrf", compile: Csrf::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    key: String,
    name: String,
    expires: i64,
}

struct Csrf {
    key: String,
    header: HeaderName,
    /// Of the cookie; the header's in any case.
    name: String,
    /// How long a token is good, in seconds; zero is for ever.
    expires: i64,
}

/// The numbers keep the text they came in, because that text is what is signed.
#[derive(Serialize, Deserialize)]
struct Token {
    random: Box<RawValue>,
    /// When the token was made, in seconds of the Unix clock.
    expires: Box<RawValue>,
    sign: String,
}

impl Csrf {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { key, name, expires } = config::read(value)?;
        let header = config::header_name(&name)?;
        Ok(Arc::new(Self { key, header, name, expires }))
    }

    fn sign(&self, random: &str, made: &str) -> String {
        hex::encode(Sha256::digest(format!("{{expires:{made},random:{random},key:{}}}", self.key)))
    }

    fn token(&self) -> Option<String> {
        let random = format!("0.{}", rand::random_range(10_u64.pow(13)..10_u64.pow(14)));
        // As Lua would write it, so that APISIX can verify it too.
        let (random, made) = (random.trim_end_matches('0'), now().as_secs().to_string());
        let token = Token {
            sign: self.sign(random, &made),
            random: RawValue::from_string(random.to_owned()).ok()?,
            expires: RawValue::from_string(made).ok()?,
        };
        Some(STANDARD.encode(serde_json::to_vec(&token).ok()?))
    }

    fn accepts(&self, token: &str) -> Option<bool> {
        let token: Token = serde_json::from_slice(&STANDARD.decode(token).ok()?).ok()?;
        let made: f64 = token.expires.get().parse().ok()?;
        let in_time = self.expires == 0 || now().as_secs_f64() - made <= self.expires as f64;
        let sign = self.sign(token.random.get(), token.expires.get());
        Some(in_time && bool::from(sign.as_bytes().ct_eq(token.sign.as_bytes())))
    }

    fn check(&self, request: &RequestHeader) -> Result<(), &'static str> {
        let header = request.headers.get(&self.header).and_then(|value| value.to_str().ok());
        let header = header.filter(|token| !token.is_empty()).ok_or("no csrf token in headers")?;
        let cookie = request::cookie(request, &self.name).ok_or("no csrf cookie")?;
        if header != cookie {
            return Err("csrf token mismatch");
        }
        match self.accepts(header) {
            Some(true) => Ok(()),
            _ => Err("Failed to verify the csrf token signature"),
        }
    }

    fn cookie(&self) -> Option<HeaderValue> {
        let token = self.token()?;
        let mut cookie = format!("{}={token};path=/;SameSite=Lax", self.name);
        // A token that is good for ever lives in a cookie without end.
        if self.expires != 0 {
            let end = Timestamp::now().as_second().saturating_add(self.expires);
            let end = Timestamp::from_second(end).ok()?.strftime("%a, %d %b %Y %H:%M:%S GMT");
            cookie.push_str(&format!(";Expires={end}"));
        }
        HeaderValue::try_from(cookie).ok()
    }
}

impl Plugin for Csrf {
    fn access(&self, _exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Flow::Next;
        }
        match self.check(request) {
            Ok(()) => Flow::Next,
            Err(reason) => {
                Answer::json(StatusCode::UNAUTHORIZED, &json!({ "error_msg": reason })).into()
            }
        }
    }

    fn response_headers(
        &self,
        _exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        if let Some(cookie) = self.cookie() {
            // Fails only if the header map is full.
            let _ = response.append_header(SET_COOKIE, cookie);
        }
    }
}
