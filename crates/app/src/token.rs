//! Bearer tokens: JWTs that say who and until when. Whether they still count is looked up by id.

use gantry_model::{Error, Id, Result, Timestamp};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

/// What a token is for; one kind is never taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Use {
    Session,
    AccessToken,
    Gateway,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Claims {
    /// User id, or name of a gateway user.
    pub sub: String,
    pub jti: Id,
    /// Unix seconds.
    pub iat: i64,
    /// Unix seconds; absent never ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<i64>,
    #[serde(rename = "use")]
    pub purpose: Use,
}

/// Signs and reads tokens with the installation's own key.
pub(crate) struct Signer {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl Signer {
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            encoding: EncodingKey::from_secret(secret),
            decoding: DecodingKey::from_secret(secret),
        }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> Result<String> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
            .map_err(Error::internal)
    }

    /// The claims of a token that we signed and that has not expired at `now`.
    pub(crate) fn read(&self, token: &str, now: Timestamp) -> Result<Claims> {
        let mut rules = Validation::new(Algorithm::HS256);
        // Expiry is judged by our clock, below.
        rules.validate_exp = false;
        rules.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, &self.decoding, &rules)
            .map_err(|_| Error::unauthorized("the token is not valid: sign in again"))?
            .claims;
        match claims.exp {
            Some(exp) if exp <= now.seconds() => Err(Error::unauthorized("Token is expired")),
            _ => Ok(claims),
        }
    }
}
