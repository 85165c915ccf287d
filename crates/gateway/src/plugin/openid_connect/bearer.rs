//! Bearer tokens: whether the provider, its keys or a configured key vouch for them.

use http::{HeaderMap, HeaderName};
use pingora::http::RequestHeader;
use serde_json::Value;

use std::sync::Arc;

use super::{
    forbidden,
    introspected::Introspected,
    now,
    provider::Provider,
    settings::{Audience, Config},
};
use crate::{
    answer::Answer,
    plugin::{
        config,
        jwt::{Algorithm, Family, Key, Token},
    },
};

/// How tokens are verified.
pub struct Bearer {
    source: Source,
    trust: Trust,
    valid_issuers: Vec<String>,
    audience: Audience,
    client_id: String,
    addons: Vec<HeaderName>,
}

enum Source {
    /// The configured key, read for each family of algorithms that it can be.
    Key(Vec<(Family, Key)>),
    /// The keys that the provider publishes.
    Published,
    /// The provider itself; what it has said may be kept for a while.
    Introspection(Option<Introspected>),
}

/// What is believed of a signed token.
#[derive(Clone)]
pub struct Trust {
    /// None believes every algorithm that can be verified.
    algorithm: Option<Algorithm>,
    /// Seconds by which clocks may differ.
    slack: i64,
}

impl Trust {
    pub fn new(config: &Config) -> Result<Self, String> {
        let expected = config.token_signing_alg_values_expected.as_deref();
        let algorithm = expected.map(|name| {
            name.parse().map_err(|_| format!("tokens signed with {name} cannot be verified here"))
        });
        Ok(Self { algorithm: algorithm.transpose()?, slack: config.iat_slack })
    }

    /// The algorithm of a token, if it is believed.
    pub fn algorithm(&self, token: &Token<'_>) -> Result<Algorithm, String> {
        let algorithm = token.algorithm().ok_or("the token's algorithm is not supported")?;
        match self.algorithm {
            Some(expected) if expected != algorithm => {
                Err("the token's algorithm is not the expected one".to_owned())
            }
            _ => Ok(algorithm),
        }
    }

    /// Whether a token is signed by `key` and can be used now.
    pub fn check(&self, token: &Token<'_>, key: &Key, algorithm: Algorithm) -> Result<(), String> {
        if !token.is_signed(key, algorithm) {
            return Err("the token's signature is not valid".to_owned());
        }
        self.check_time(token)
    }

    /// Whether a token that nobody has signed is good now: only if nothing else is expected.
    pub fn check_unsigned(&self, token: &Token<'_>) -> Result<(), String> {
        match self.algorithm {
            Some(_) => Err("the token is not signed".to_owned()),
            None => self.check_time(token),
        }
    }

    fn check_time(&self, token: &Token<'_>) -> Result<(), String> {
        if token.is_in_time(self.slack as f64, now() as f64) {
            Ok(())
        } else {
            Err("the token has expired or is not valid yet".to_owned())
        }
    }
}

impl Bearer {
    /// None if bearer tokens are not looked at.
    pub fn new(config: &Config) -> Result<Option<Self>, String> {
        let source = match &config.public_key {
            Some(pem) => Source::Key(families(pem)?),
            None if config.use_jwks => Source::Published,
            None if config.bearer_only || config.introspection_endpoint.is_some() => {
                Source::Introspection(Introspected::new(config))
            }
            None => return Ok(None),
        };
        let addons = config.introspection_addon_headers.iter();
        let validator = &config.claim_validator;
        Ok(Some(Self {
            source,
            trust: Trust::new(config)?,
            valid_issuers: validator.issuer.valid_issuers.clone(),
            audience: validator.audience.clone(),
            client_id: config.client_id.clone(),
            addons: addons.map(|name| config::header_name(name)).collect::<Result<_, _>>()?,
        }))
    }

    /// The client's headers that the provider gets to see when it is asked.
    pub fn addons(&self, request: &RequestHeader) -> HeaderMap {
        let value = |name: &HeaderName| Some((name.clone(), request.headers.get(name)?.clone()));
        self.addons.iter().filter_map(value).collect()
    }

    /// What a token says, once somebody vouches for it. The error is for the client.
    pub async fn claims(
        &self,
        provider: &Provider,
        text: &str,
        addons: HeaderMap,
    ) -> Result<Value, String> {
        if let Source::Introspection(kept) = &self.source {
            return introspect(provider, kept.as_ref(), text, addons).await;
        }
        let token = Token::parse(text).ok_or("the token is not a JWT")?;
        let algorithm = self.trust.algorithm(&token)?;
        // A public key is no HMAC secret, whatever the token says.
        if algorithm.family() == Family::Secret {
            return Err("the token's algorithm is not supported".to_owned());
        }
        let key = match &self.source {
            Source::Key(families) => {
                let family = families.iter().find(|(family, _)| *family == algorithm.family());
                family.ok_or("the token's algorithm does not fit the key")?.1.clone()
            }
            _ => provider.key(&token, algorithm).await?,
        };
        self.trust.check(&token, &key, algorithm)?;
        self.check_issuer(provider, &token).await?;
        Ok(Value::Object(token.claims().clone()))
    }

    async fn check_issuer(&self, provider: &Provider, token: &Token<'_>) -> Result<(), String> {
        let issuer = token.claim("iss");
        let valid = if self.valid_issuers.is_empty() {
            let metadata = provider.metadata().await.map_err(|error| {
                tracing::warn!(error, "the issuer of a token could not be checked");
                "issuer validation unavailable".to_owned()
            })?;
            issuer.is_some() && issuer == metadata.issuer.as_deref()
        } else {
            self.valid_issuers.iter().any(|valid| issuer == Some(valid))
        };
        if valid { Ok(()) } else { Err("the token's issuer is not valid".to_owned()) }
    }

    pub fn judge_audience(&self, claims: &Value) -> Result<(), Box<Answer>> {
        let Audience { claim, required, match_with_client_id } = &self.audience;
        let claim = if claim.is_empty() { "aud" } else { claim };
        match claims.get(claim) {
            None if *required || *match_with_client_id => {
                Err(forbidden("required audience claim not present"))
            }
            Some(audience) if *match_with_client_id && !names(audience, &self.client_id) => {
                Err(forbidden("mismatched audience"))
            }
            _ => Ok(()),
        }
    }
}

/// Asks the provider, unless what it has said before still holds.
async fn introspect(
    provider: &Provider,
    kept: Option<&Introspected>,
    token: &str,
    addons: HeaderMap,
) -> Result<Value, String> {
    let question = kept.map(|kept| (kept, Introspected::question(token, &addons)));
    if let Some(claims) = question.and_then(|(kept, question)| kept.get(&question)) {
        return Ok((*claims).clone());
    }
    let claims = provider.introspect(token, addons).await.map_err(|error| {
        tracing::warn!(error, "a token could not be introspected");
        "introspection failed".to_owned()
    })?;
    if claims.get("active") != Some(&Value::Bool(true)) {
        return Err("invalid token".to_owned());
    }
    if let Some((kept, question)) = question {
        kept.keep(question, &Arc::new(claims.clone()));
    }
    Ok(claims)
}

/// Whether an audience, a text or a list of texts, has this client in it.
pub fn names(audience: &Value, client_id: &str) -> bool {
    match audience {
        Value::Array(all) => all.iter().any(|one| one == client_id),
        one => one == client_id,
    }
}

fn families(pem: &str) -> Result<Vec<(Family, Key)>, String> {
    let kinds =
        ["RS256", "ES256", "ES512", "EdDSA"].into_iter().filter_map(|name| name.parse().ok());
    let read = |kind: Algorithm| Some((kind.family(), Key::public(kind, pem.as_bytes())?));
    let families: Vec<_> = kinds.filter_map(read).collect();
    if families.is_empty() {
        Err("`public_key` is not a PEM public key".to_owned())
    } else {
        Ok(families)
    }
}
