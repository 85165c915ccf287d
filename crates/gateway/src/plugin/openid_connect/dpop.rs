//! Proofs that it is this client who uses its tokens (RFC 9449).

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{now, random};
use crate::plugin::{
    jws::Signer,
    jwt::{Key, Token},
};

#[derive(Deserialize)]
pub struct Settings {
    enabled: bool,
    private_key: Option<String>,
    public_jwk: Option<Value>,
    signing_alg: Option<String>,
}

/// The key that tokens are bound to.
pub struct Dpop {
    signer: Signer,
    public: Value,
    /// What each endpoint wants to see in the next proof.
    nonces: Mutex<HashMap<String, String>>,
}

impl Dpop {
    /// None unless proofs are asked for.
    pub fn new(settings: Option<&Settings>) -> Result<Option<Self>, String> {
        let Some(settings) = settings.filter(|settings| settings.enabled) else { return Ok(None) };
        let (Some(pem), Some(public)) = (&settings.private_key, &settings.public_jwk) else {
            return Err("`dpop` needs `private_key` and `public_jwk`".to_owned());
        };
        let algorithm = settings.signing_alg.as_deref().unwrap_or("ES256");
        let signer = Signer::private(algorithm, pem).ok_or_else(|| {
            format!("`dpop.private_key` is not a PEM private key for {algorithm}")
        })?;
        if !is_pair(&signer, public, algorithm) {
            return Err("`dpop.public_jwk` is not the public key of `dpop.private_key`".to_owned());
        }
        Ok(Some(Self { signer, public: public.clone(), nonces: Mutex::default() }))
    }

    /// The proof for one request, and for the access token that goes with it.
    pub fn proof(
        &self,
        method: &str,
        url: &str,
        access_token: Option<&str>,
    ) -> Result<String, String> {
        let mut head = Map::new();
        head.insert("typ".to_owned(), "dpop+jwt".into());
        head.insert("jwk".to_owned(), self.public.clone());
        let place = url.split(['?', '#']).next().unwrap_or(url);
        let mut claims = Map::new();
        claims.insert("jti".to_owned(), random().into());
        claims.insert("htm".to_owned(), method.into());
        claims.insert("htu".to_owned(), place.into());
        claims.insert("iat".to_owned(), now().into());
        if let Some(token) = access_token {
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(token));
            claims.insert("ath".to_owned(), digest.into());
        }
        if let Some(nonce) = self.nonces().get(url) {
            claims.insert("nonce".to_owned(), nonce.as_str().into());
        }
        self.signer.sign(head, &Value::Object(claims))
    }

    /// Notes what an endpoint wants to see next. Answers whether that is something new.
    pub fn note(&self, url: &str, headers: &HeaderMap) -> bool {
        let nonce = headers.get("dpop-nonce").and_then(|nonce| nonce.to_str().ok());
        let Some(nonce) = nonce else { return false };
        let before = self.nonces().insert(url.to_owned(), nonce.to_owned());
        before.as_deref() != Some(nonce)
    }

    fn nonces(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.nonces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether what the one signs is verified with the other.
fn is_pair(signer: &Signer, public: &Value, algorithm: &str) -> bool {
    let key = serde_json::from_value(public.clone()).ok().and_then(|jwk| Key::published(&jwk));
    let signed = signer.sign(Map::new(), &json!({})).ok();
    let (Some(key), Some(signed), Ok(algorithm)) = (key, signed, algorithm.parse()) else {
        return false;
    };
    Token::parse(&signed).is_some_and(|token| token.is_signed(&key, algorithm))
}
