//! JSON Web Tokens as jwt-auth checks them: first who it claims to be from, then whether it is.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token that has been read but not verified.
pub struct Token<'a> {
    algorithm: String,
    key_id: Option<String>,
    claims: Map<String, Value>,
    /// What is signed: header and payload as they came.
    message: &'a str,
    signature: &'a str,
}

/// A registered claim that jwt-auth can insist on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Claim {
    Exp,
    Nbf,
}

impl Claim {
    fn name(self) -> &'static str {
        match self {
            Self::Exp => "exp",
            Self::Nbf => "nbf",
        }
    }
}

/// What one consumer's tokens are verified with.
pub struct Verifier {
    algorithm: Algorithm,
    name: String,
    key: DecodingKey,
    /// Seconds by which clocks may differ.
    leeway: u64,
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
}

impl<'a> Token<'a> {
    /// Reads a compact token; None if it is not one.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (head, payload) = message.split_once('.')?;
        let head: Head = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(head).ok()?).ok()?;
        let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        Some(Self { algorithm: head.alg, key_id: head.kid, claims, message, signature })
    }

    /// A claim that is text.
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }

    /// What the token says it is signed with; None for algorithms that cannot be verified.
    #[must_use]
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.algorithm.parse().ok()
    }

    /// The id of the key, if the token names one.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// All claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Whether this key has signed the token. The caller has decided that the algorithm will do.
    #[must_use]
    pub fn is_signed(&self, key: &DecodingKey, algorithm: Algorithm) -> bool {
        crypto::verify(self.signature, self.message.as_bytes(), key, algorithm).unwrap_or(false)
    }

    /// Whether `exp` and `nbf`, if there are any, let the token be used at `now` (seconds of the
    /// Unix clock), give or take `leeway` seconds.
    #[must_use]
    pub fn is_in_time(&self, leeway: f64, now: f64) -> bool {
        let fits = |name: &str, fits: &dyn Fn(f64) -> bool| match self.seconds(name) {
            Ok(seconds) => seconds.is_none_or(fits),
            Err(()) => false,
        };
        fits("exp", &|exp| now < exp + leeway) && fits("nbf", &|nbf| now >= nbf - leeway)
    }

    fn seconds(&self, name: &str) -> Result<Option<f64>, ()> {
        self.claims.get(name).map(|value| value.as_f64().ok_or(())).transpose()
    }
}

impl Verifier {
    /// A verifier for a consumer's `algorithm`; HS* use the secret, the others the public key.
    pub fn new(algorithm: &str, material: Material<'_>, leeway: u64) -> Result<Self, String> {
        let parsed: Algorithm = algorithm
            .parse()
            .map_err(|_| format!("tokens signed with {algorithm} cannot be verified here"))?;
        let key = match (parsed, material) {
            (Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512, material) => {
                material.secret()?
            }
            (_, Material::PublicKey(pem)) => public_key(parsed, pem.as_bytes())
                .map_err(|_| format!("`public_key` is not a PEM public key for {algorithm}"))?,
            _ => return Err(format!("`public_key` is required for {algorithm}")),
        };
        Ok(Self { algorithm: parsed, name: algorithm.to_owned(), key, leeway })
    }

    /// Whether the token is this consumer's and valid at `now` (seconds of the Unix clock).
    #[must_use]
    pub fn accepts(&self, token: &Token<'_>, required: &[Claim], now: f64) -> bool {
        // The consumer's algorithm decides, never the token's: a public key is no HMAC secret.
        token.algorithm == self.name
            && required.iter().all(|claim| token.claims.contains_key(claim.name()))
            && token.is_in_time(self.leeway as f64, now)
            && token.is_signed(&self.key, self.algorithm)
    }
}

/// What a consumer's configuration offers to verify with.
pub enum Material<'a> {
    Secret { text: &'a str, base64: bool },
    PublicKey(&'a str),
    Nothing,
}

impl Material<'_> {
    fn secret(&self) -> Result<DecodingKey, String> {
        match self {
            Self::Secret { text, base64: true } => DecodingKey::from_base64_secret(text)
                .map_err(|_| "`secret` is not base64".to_owned()),
            Self::Secret { text, base64: false } => Ok(DecodingKey::from_secret(text.as_bytes())),
            _ => Err("`secret` is required for HS256, HS384 and HS512".to_owned()),
        }
    }
}

/// Reads a PEM public key for the family of an algorithm.
pub fn public_key(algorithm: Algorithm, pem: &[u8]) -> jsonwebtoken::errors::Result<DecodingKey> {
    match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => DecodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => DecodingKey::from_ed_pem(pem),
        _ => DecodingKey::from_rsa_pem(pem),
    }
}
