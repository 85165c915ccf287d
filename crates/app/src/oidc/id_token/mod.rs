//! What an ID token has to be before it is believed (OpenID Connect Core, §3.1.3.7).

use gantry_model::{Error, Result, Timestamp};
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Header, Validation};
use serde::Deserialize;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

/// How far the provider's clock may differ from ours, in seconds.
const LEEWAY_S: i64 = 60;

/// Signatures with a key that only the provider has; never one with a shared secret.
const ALGORITHMS: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Who signed in, as the provider describes them.
#[derive(Clone, Debug, Default)]
pub(super) struct Person {
    pub subject: String,
    pub email: Option<String>,
    pub email_verified: bool,
    pub first_name: String,
    pub last_name: String,
    pub avatar_url: String,
}

/// What we expect of a token.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: Timestamp,
}

#[derive(Deserialize)]
struct Claims {
    exp: i64,
    #[serde(default)]
    iat: i64,
    nbf: Option<i64>,
    azp: Option<String>,
    /// One audience as a text, or several as a list.
    aud: Value,
    #[serde(default)]
    nonce: String,
    #[serde(flatten)]
    profile: Profile,
}

/// Standard claims about a person, in ID tokens and from the user-info endpoint.
#[derive(Deserialize)]
pub(super) struct Profile {
    pub sub: String,
    pub email: Option<String>,
    /// Some providers write `"true"`.
    #[serde(default)]
    email_verified: Value,
    #[serde(default)]
    given_name: String,
    #[serde(default)]
    family_name: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    picture: String,
}

impl From<Profile> for Person {
    fn from(profile: Profile) -> Self {
        let Profile { sub, email, email_verified, given_name, family_name, name, picture } =
            profile;
        let (first_name, last_name) = if given_name.is_empty() && family_name.is_empty() {
            let (first, last) = name.split_once(' ').unwrap_or((&name, ""));
            (first.to_owned(), last.to_owned())
        } else {
            (given_name, family_name)
        };
        let email_verified = email_verified == true || email_verified == "true";
        Self { subject: sub, email, email_verified, first_name, last_name, avatar_url: picture }
    }
}

/// The key that signed a token, if the set has it: by its id, or the only one that could be meant.
pub(super) fn signing_key<'k>(keys: &'k JwkSet, header: &Header) -> Option<&'k Jwk> {
    let can_sign = |key: &&Jwk| {
        let common = &key.common;
        !matches!(common.public_key_use, Some(PublicKeyUse::Encryption))
            && common.key_algorithm.is_none_or(|made_for| {
                format!("{made_for:?}").eq_ignore_ascii_case(&format!("{:?}", header.alg))
            })
    };
    let mut fitting = keys.keys.iter().filter(can_sign).filter(|key| match &header.kid {
        Some(kid) => key.common.key_id.as_deref() == Some(kid),
        None => true,
    });
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// The person in a token that the provider signed for us and for this very sign-in.
pub(super) fn read(token: &str, key: &Jwk, expected: &Expected<'_>) -> Result<Person> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| refused("is not a token"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(refused("is not signed with a key of the provider"));
    }
    let mut rules = Validation::new(header.alg);
    rules.set_issuer(&[expected.issuer]);
    rules.set_audience(&[expected.client_id]);
    rules.set_required_spec_claims(&["iss", "aud", "sub", "exp"]);
    // Times are judged by our clock, below.
    rules.validate_exp = false;
    let key = DecodingKey::from_jwk(key).map_err(|_| refused("has a key of an unknown kind"))?;
    let claims = jsonwebtoken::decode::<Claims>(token, &key, &rules)
        .map_err(|reason| refused(&format!("is not believed ({reason})")))?
        .claims;
    let now = expected.now.seconds();
    let in_time = claims.exp.saturating_add(LEEWAY_S) > now
        && claims.iat.saturating_sub(LEEWAY_S) <= now
        && claims.nbf.is_none_or(|start| start.saturating_sub(LEEWAY_S) <= now);
    if !in_time {
        return Err(refused("is too old or not valid yet"));
    }
    let for_others = claims.aud.as_array().is_some_and(|all| all.len() > 1);
    if claims.azp.as_deref().map_or(for_others, |party| party != expected.client_id) {
        return Err(refused("was made for another client"));
    }
    if !bool::from(claims.nonce.as_bytes().ct_eq(expected.nonce.as_bytes())) {
        return Err(refused("belongs to another sign-in"));
    }
    Ok(claims.profile.into())
}

fn refused(why: &str) -> Error {
    Error::unauthorized(format!("the identity provider's ID token {why}: sign in again"))
}

#[cfg(test)]
mod tests;
