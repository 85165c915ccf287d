//! Signing what this gateway says of itself (RFC 7515), with a secret or a private key.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{EncodingKey, crypto};
use p521::{
    ecdsa::{Signature, SigningKey, signature::Signer as _},
    pkcs8::DecodePrivateKey,
};
use serde_json::{Map, Value};

use super::jwt::{Algorithm, Family};

/// Signs tokens of one algorithm.
pub struct Signer {
    /// As heads of tokens say it.
    name: String,
    key: Key,
}

enum Key {
    P521(Box<SigningKey>),
    Other(jsonwebtoken::Algorithm, EncodingKey),
}

impl Signer {
    /// Signs with a secret that the other side knows; None for algorithms that need a private key.
    #[must_use]
    pub fn shared(name: &str, secret: &str) -> Option<Self> {
        let parsed: Algorithm = name.parse().ok()?;
        match parsed {
            Algorithm::Other(algorithm) if parsed.family() == Family::Secret => {
                let key = Key::Other(algorithm, EncodingKey::from_secret(secret.as_bytes()));
                Some(Self { name: name.to_owned(), key })
            }
            _ => None,
        }
    }

    /// Signs with a PEM private key (PKCS #8; PKCS #1 will do for RSA); None if it is none for the
    /// algorithm, or the algorithm needs a secret.
    #[must_use]
    pub fn private(name: &str, pem: &str) -> Option<Self> {
        let parsed: Algorithm = name.parse().ok()?;
        let key = match parsed {
            Algorithm::Es512 => {
                let secret = p521::SecretKey::from_pkcs8_pem(pem).ok()?;
                Key::P521(Box::new(SigningKey::from_bytes(&secret.to_bytes()).ok()?))
            }
            Algorithm::Other(algorithm) => {
                let pem = pem.as_bytes();
                let key = match parsed.family() {
                    Family::Rsa => EncodingKey::from_rsa_pem(pem).ok()?,
                    Family::Ec => EncodingKey::from_ec_pem(pem).ok()?,
                    Family::Ed => EncodingKey::from_ed_pem(pem).ok()?,
                    Family::Secret | Family::P521 => return None,
                };
                Key::Other(algorithm, key)
            }
        };
        let signer = Self { name: name.to_owned(), key };
        // A key of another curve is noticed when it signs.
        signer.sign(Map::new(), &Value::Null).ok().map(|_| signer)
    }

    /// A token with these claims. `alg` is added to its head.
    pub fn sign(&self, mut head: Map<String, Value>, claims: &Value) -> Result<String, String> {
        head.insert("alg".to_owned(), self.name.as_str().into());
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(&Value::Object(head)), part(claims));
        let signature = match &self.key {
            Key::P521(key) => {
                let signature: Signature =
                    key.try_sign(message.as_bytes()).map_err(|error| error.to_string())?;
                URL_SAFE_NO_PAD.encode(signature.to_bytes())
            }
            Key::Other(algorithm, key) => crypto::sign(message.as_bytes(), key, *algorithm)
                .map_err(|error| error.to_string())?,
        };
        Ok(format!("{message}.{signature}"))
    }
}
