//! JSON Web Tokens as jwt-auth checks them: first who it claims to be from, then whether it is.

use std::str::FromStr;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    DecodingKey, crypto,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk},
};
use p521::ecdsa::{Signature, VerifyingKey, signature::Verifier as _};
use serde::Deserialize;
use serde_json::{Map, Value};

/// How tokens are signed (RFC 7518, section 3, and RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Not known to `jsonwebtoken`.
    Es512,
    Other(jsonwebtoken::Algorithm),
}

/// What kind of key an algorithm needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Secret,
    Rsa,
    /// P-256 and P-384.
    Ec,
    P521,
    Ed,
}

/// What a token is verified with.
#[derive(Clone)]
pub enum Key {
    P521(Box<VerifyingKey>),
    Other(DecodingKey),
}

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
    key: Key,
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

    /// Whether the token says that nobody has signed it, and nobody has.
    #[must_use]
    pub fn is_unsigned(&self) -> bool {
        self.algorithm == "none" && self.signature.is_empty()
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
    pub fn is_signed(&self, key: &Key, algorithm: Algorithm) -> bool {
        match (key, algorithm) {
            (Key::P521(key), Algorithm::Es512) => {
                let signature = URL_SAFE_NO_PAD.decode(self.signature).ok();
                let signature = signature.and_then(|bytes| Signature::from_slice(&bytes).ok());
                signature.is_some_and(|it| key.verify(self.message.as_bytes(), &it).is_ok())
            }
            (Key::Other(key), Algorithm::Other(algorithm)) => {
                crypto::verify(self.signature, self.message.as_bytes(), key, algorithm)
                    .unwrap_or(false)
            }
            _ => false,
        }
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
        let key = match (parsed.family(), material) {
            (Family::Secret, material) => material.secret()?,
            (_, Material::PublicKey(pem)) => Key::public(parsed, pem.as_bytes())
                .ok_or_else(|| format!("`public_key` is not a PEM public key for {algorithm}"))?,
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
    fn secret(&self) -> Result<Key, String> {
        match self {
            Self::Secret { text, base64: true } => DecodingKey::from_base64_secret(text)
                .map(Key::Other)
                .map_err(|_| "`secret` is not base64".to_owned()),
            Self::Secret { text, base64: false } => Ok(Key::secret(text)),
            _ => Err("`secret` is required for HS256, HS384 and HS512".to_owned()),
        }
    }
}

impl FromStr for Algorithm {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "ES512" => Ok(Self::Es512),
            other => other.parse().map(Self::Other).map_err(|_| ()),
        }
    }
}

impl Algorithm {
    #[must_use]
    pub fn family(self) -> Family {
        use jsonwebtoken::Algorithm as A;
        match self {
            Self::Es512 => Family::P521,
            Self::Other(A::HS256 | A::HS384 | A::HS512) => Family::Secret,
            Self::Other(A::ES256 | A::ES384) => Family::Ec,
            Self::Other(A::EdDSA) => Family::Ed,
            Self::Other(_) => Family::Rsa,
        }
    }
}

impl Key {
    /// What two parties share.
    #[must_use]
    pub fn secret(text: &str) -> Self {
        Self::Other(DecodingKey::from_secret(text.as_bytes()))
    }

    /// Reads a PEM public key for an algorithm.
    #[must_use]
    pub fn public(algorithm: Algorithm, pem: &[u8]) -> Option<Self> {
        let key = match algorithm.family() {
            Family::Secret => None,
            Family::Rsa => DecodingKey::from_rsa_pem(pem).ok(),
            Family::Ec | Family::P521 => DecodingKey::from_ec_pem(pem).ok(),
            Family::Ed => DecodingKey::from_ed_pem(pem).ok(),
        }?;
        if algorithm == Algorithm::Es512 { Self::p521(&key) } else { Some(Self::Other(key)) }
    }

    /// Reads a key that somebody has published.
    #[must_use]
    pub fn published(jwk: &Jwk) -> Option<Self> {
        let key = DecodingKey::from_jwk(jwk).ok()?;
        match &jwk.algorithm {
            AlgorithmParameters::EllipticCurve(it) if it.curve == EllipticCurve::P521 => {
                Self::p521(&key)
            }
            _ => Some(Self::Other(key)),
        }
    }

    /// The point of a key for elliptic curves, if it is on this one.
    fn p521(key: &DecodingKey) -> Option<Self> {
        let point = key.try_get_as_bytes().ok()?;
        VerifyingKey::from_sec1_bytes(point).ok().map(|key| Self::P521(Box::new(key)))
    }
}
