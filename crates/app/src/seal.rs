//! Encryption at rest: values are sealed under the master key and bound to the place they belong to.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use gantry_model::{Error, Result, Secret};
use hmac::{Hmac, Mac as _};
use rand::RngCore as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

/// Seals and opens texts. The nonce is random and long enough never to repeat.
pub(crate) struct Sealer {
    cipher: XChaCha20Poly1305,
    hash_key: [u8; KEY_BYTES],
}

impl Sealer {
    /// The key as given, else the one in `file`, else a new one that is kept there.
    pub(crate) fn open(file: &Path, given: Option<&Secret>) -> Result<Self> {
        match given {
            Some(secret) => Self::with_key(secret.expose()),
            None => Self::with_key(&key_in_file(file)?),
        }
    }

    /// `text` is 32 bytes in base64.
    pub(crate) fn with_key(text: &str) -> Result<Self> {
        let key = bytes(text)?;
        let mut hash_key = [0; KEY_BYTES];
        hash_key.copy_from_slice(&keyed_hash(&key, b"hash key"));
        Ok(Self { cipher: XChaCha20Poly1305::new(&key.into()), hash_key })
    }

    /// The key of [`Sealer::hash`], in base64, which stays when the master key changes.
    pub(crate) fn hash_key(&self) -> String {
        BASE64.encode(self.hash_key)
    }

    pub(crate) fn set_hash_key(&mut self, text: &str) -> Result<()> {
        self.hash_key = bytes(text)?;
        Ok(())
    }

    /// `plain` as text that only [`Sealer::open_text`] with the same `place` can read.
    pub(crate) fn seal(&self, place: &str, plain: &[u8]) -> Result<String> {
        let mut sealed = random_bytes::<NONCE_BYTES>().to_vec();
        let nonce = nonce(&sealed)?;
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        let body = self.cipher.encrypt(&nonce, payload).map_err(|_| unsealable(place))?;
        sealed.extend(body);
        Ok(BASE64.encode(sealed))
    }

    pub(crate) fn open_text(&self, place: &str, sealed: &str) -> Result<String> {
        let bytes = BASE64.decode(sealed).map_err(Error::internal)?;
        let (start, body) = bytes.split_at_checked(NONCE_BYTES).ok_or_else(|| unsealable(place))?;
        let payload = Payload { msg: body, aad: place.as_bytes() };
        let plain = self.cipher.decrypt(&nonce(start)?, payload).map_err(|_| unsealable(place))?;
        String::from_utf8(plain).map_err(Error::internal)
    }

    pub(crate) fn seal_json(&self, place: &str, value: &impl Serialize) -> Result<String> {
        let plain = serde_json::to_vec(value).map_err(Error::internal)?;
        self.seal(place, &plain)
    }

    pub(crate) fn open_json<T: DeserializeOwned>(&self, place: &str, sealed: &str) -> Result<T> {
        serde_json::from_str(&self.open_text(place, sealed)?).map_err(Error::internal)
    }

    /// A hash that tells equal texts apart from different ones and nothing to those without the key.
    pub(crate) fn hash(&self, text: &str) -> String {
        hex::encode(keyed_hash(&self.hash_key, text.as_bytes()))
    }
}

fn bytes(text: &str) -> Result<[u8; KEY_BYTES]> {
    let bytes = BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| Error::internal("the master key must be 32 bytes in base64"))
}

fn unsealable(place: &str) -> Error {
    Error::internal(format!(
        "{place} cannot be unsealed: the master key is not the one this database was written with"
    ))
}

fn nonce(bytes: &[u8]) -> Result<XNonce> {
    XNonce::try_from(bytes).map_err(Error::internal)
}

pub(crate) fn keyed_hash(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Bytes nobody can guess.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::rng().fill_bytes(&mut bytes);
    bytes
}

/// A secret of `N` random bytes as letters, digits, `-` and `_`.
pub(crate) fn random_text<const N: usize>() -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random_bytes::<N>())
}

fn key_in_file(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        other => return other.map_err(Error::internal),
    }
    let key = new_key();
    write_key(file, key.expose())?;
    Ok(key.expose().to_owned())
}

/// A key nobody has had before, in base64.
pub(crate) fn new_key() -> Secret {
    Secret::new(BASE64.encode(random_bytes::<KEY_BYTES>()))
}

/// Writes a key into a new file that only its owner can read.
pub(crate) fn write_key(file: &Path, text: &str) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut key = options.open(file).map_err(Error::internal)?;
    key.write_all(text.as_bytes()).and_then(|()| key.sync_all()).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_in_its_place_and_under_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("master.key");
        let sealer = Sealer::open(&file, None).unwrap();
        let sealed = sealer.seal("a/1", b"secret").unwrap();
        assert!(!sealed.contains("secret"));
        assert_eq!(Sealer::open(&file, None).unwrap().open_text("a/1", &sealed).unwrap(), "secret");
        assert!(sealer.open_text("a/2", &sealed).is_err());
        let other = Secret::new(BASE64.encode([1; 32]));
        assert!(Sealer::open(&file, Some(&other)).unwrap().open_text("a/1", &sealed).is_err());
    }
}
