//! jwt-auth: a signed token in a header, a query argument or a cookie.

use std::{borrow::Cow, sync::Arc};

use http::{HeaderName, HeaderValue, header::COOKIE};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Identity, Kind, Place, Plugin,
    auth::{Gate, Refusal},
    config,
    jwt::{Claim, Material, Token, Verifier},
    url,
};
use crate::{clock, consumer::Credential, exchange::Exchange, request};

pub(super) const KIND: Kind =
    Kind { name: "jwt-auth", compile: JwtAuth::compile, identify: Some(identify) };

#[derive(Deserialize)]
struct Config {
    header: String,
    query: String,
    cookie: String,
    hide_credentials: bool,
    key_claim_name: String,
    realm: String,
    anonymous_consumer: Option<String>,
    #[serde(default)]
    claims_to_verify: Vec<Claim>,
}

struct JwtAuth {
    gate: Gate,
    header: HeaderName,
    query: String,
    cookie: String,
    hide: bool,
    claim: String,
    required: Vec<Claim>,
}

/// Where a request carries its token.
#[derive(Clone, Copy)]
enum Found {
    Header,
    Query,
    Cookie,
}

impl JwtAuth {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        Ok(Arc::new(Self {
            gate: Gate::new("Bearer", &config.realm, config.anonymous_consumer)?,
            header: config::header_name(&config.header)?,
            query: config.query,
            cookie: config.cookie,
            hide: config.hide_credentials,
            claim: config.key_claim_name,
            required: config.claims_to_verify,
        }))
    }

    fn presented<'a>(&self, request: &'a RequestHeader) -> Option<(Found, Cow<'a, str>)> {
        if let Some(value) = request.headers.get(&self.header) {
            let text = String::from_utf8_lossy(value.as_bytes());
            let prefix =
                if text.starts_with("Bearer ") || text.starts_with("bearer ") { 7 } else { 0 };
            let token = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.get(prefix..).unwrap_or("")),
                Cow::Owned(text) => Cow::Owned(text.get(prefix..).unwrap_or("").to_owned()),
            };
            return Some((Found::Header, token));
        }
        let query = request.uri.query();
        if let Some(token) = query.and_then(|query| url::argument(query, &self.query)) {
            return Some((Found::Query, token));
        }
        request::cookies(request)
            .find(|(name, _)| *name == self.cookie)
            .map(|(_, token)| (Found::Cookie, Cow::Borrowed(token)))
    }

    fn authenticate(&self, exchange: &Exchange, token: &str) -> Result<Arc<Credential>, Refusal> {
        let token = Token::parse(token).ok_or("JWT token invalid")?;
        let key = token.claims().get(&self.claim).ok_or("missing user key in JWT token")?;
        let credential = key.as_str().and_then(|key| exchange.credential("jwt-auth", key));
        let credential = credential.ok_or("Invalid user key in JWT token")?;
        let verified = credential.secret::<Verifier>().is_some_and(|verifier| {
            verifier.accepts(&token, &self.required, clock::now().as_secs_f64())
        });
        if verified { Ok(credential) } else { Err("failed to verify jwt") }
    }

    fn hide(&self, exchange: &mut Exchange, request: &mut RequestHeader, found: Found) {
        match found {
            Found::Header => {
                request.remove_header(&self.header);
            }
            Found::Query => url::hide_argument(exchange, request, &self.query),
            Found::Cookie => hide_cookie(request, &self.cookie),
        }
    }
}

impl Plugin for JwtAuth {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let presented = self.presented(request);
        let found = presented.as_ref().map(|(found, _)| *found);
        let outcome = match &presented {
            Some((_, token)) => self.authenticate(exchange, token),
            None => Err("Missing JWT token in request"),
        };
        drop(presented);
        if let Some(found) = found.filter(|_| self.hide) {
            self.hide(exchange, request, found);
        }
        self.gate.settle(exchange, request, outcome)
    }
}

/// Takes a cookie out and leaves all others as they came, byte by byte.
fn hide_cookie(request: &mut RequestHeader, name: &str) {
    let lines = request.headers.get_all(COOKIE).iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
    let of_others = |pair: &&[u8]| pair.split(|byte| *byte == b'=').next() != Some(name.as_bytes());
    let kept: Vec<_> = pairs.map(<[u8]>::trim_ascii).filter(of_others).collect();
    let kept = kept.join(&b"; "[..]);
    request.remove_header(&COOKIE);
    if let Ok(value) = HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        // Fails only if the header map is full; one name was just taken out of it.
        let _ = request.insert_header(COOKIE, value);
    }
}

#[derive(Deserialize)]
struct Issuer {
    key: String,
    algorithm: String,
    secret: Option<String>,
    base64_secret: bool,
    public_key: Option<String>,
    lifetime_grace_period: u64,
}

fn identify(value: &Value) -> Result<Identity, String> {
    let issuer: Issuer = config::read(value)?;
    let material = match (&issuer.secret, &issuer.public_key) {
        (_, Some(pem)) if !issuer.algorithm.starts_with("HS") => Material::PublicKey(pem),
        (Some(text), _) => Material::Secret { text, base64: issuer.base64_secret },
        _ => Material::Nothing,
    };
    let verifier = Verifier::new(&issuer.algorithm, material, issuer.lifetime_grace_period)?;
    Ok(Identity { key: issuer.key, secret: Box::new(verifier) })
}
