//! Passwords: argon2id hashes, computed off the runtime's threads.

use std::sync::OnceLock;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use gantry_model::{Error, Result, Secret};

use crate::seal::random_bytes;

/// The hash to store for a password.
pub(crate) async fn hash(password: Secret) -> Result<String> {
    tokio::task::spawn_blocking(move || hash_now(password.expose()))
        .await
        .map_err(Error::internal)?
}

/// Whether the password fits. Without a stored hash the answer is no, after the same work.
pub(crate) async fn matches(password: Secret, stored: Option<String>) -> Result<bool> {
    let check = move || {
        let known = stored.is_some();
        let stored = stored.unwrap_or_else(|| nobodys_hash().to_owned());
        let Ok(parsed) = PasswordHash::new(&stored) else { return false };
        Argon2::default().verify_password(password.expose().as_bytes(), &parsed).is_ok() && known
    };
    tokio::task::spawn_blocking(check).await.map_err(Error::internal)
}

fn hash_now(password: &str) -> Result<String> {
    let salt = SaltString::encode_b64(&random_bytes::<16>()).map_err(|e| bad_hash(&e))?;
    let hash =
        Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|e| bad_hash(&e))?;
    Ok(hash.to_string())
}

fn nobodys_hash() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash_now("nobody's password").unwrap_or_default())
}

fn bad_hash(error: &argon2::password_hash::Error) -> Error {
    Error::internal(format!("hashing a password failed: {error}"))
}
