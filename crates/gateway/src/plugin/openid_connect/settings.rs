//! The configuration of openid-connect, and what of it cannot be run.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

#[derive(Deserialize)]
pub struct Config {
    pub client_id: String,
    pub client_secret: Option<String>,
    pub discovery: String,
    pub scope: String,
    pub ssl_verify: bool,
    /// Seconds, or milliseconds if it is a multiple of 1000.
    pub timeout: u64,
    pub realm: String,
    #[serde(default)]
    pub required_scopes: Vec<String>,
    pub claim_schema: Option<Value>,
    #[serde(default)]
    pub claim_validator: ClaimValidator,
    pub token_signing_alg_values_expected: Option<String>,
    /// Seconds by which clocks may differ.
    pub iat_slack: i64,

    pub bearer_only: bool,
    pub use_jwks: bool,
    /// Seconds.
    pub jwk_expires_in: u64,
    pub public_key: Option<String>,
    pub introspection_endpoint: Option<String>,
    pub introspection_endpoint_auth_method: String,
    #[serde(default)]
    pub introspection_addon_headers: Vec<String>,

    pub session: Option<Session>,
    pub redirect_uri: Option<String>,
    pub logout_path: String,
    pub post_logout_redirect_uri: Option<String>,
    pub revoke_tokens_on_logout: bool,
    pub unauth_action: String,
    #[serde(default)]
    pub authorization_params: Map<String, Value>,
    pub token_endpoint_auth_method: String,
    pub use_pkce: bool,
    pub use_nonce: bool,
    pub force_reauthorize: bool,
    pub renew_access_token_on_expiry: bool,
    /// Seconds, for providers that do not say.
    pub access_token_expires_in: Option<i64>,
    pub access_token_expires_leeway: i64,

    pub set_access_token_header: bool,
    pub access_token_in_authorization_header: bool,
    pub set_id_token_header: bool,
    pub set_raw_id_token_header: bool,
    pub set_refresh_token_header: bool,
    pub set_userinfo_header: bool,

    accept_none_alg: bool,
    dpop: Option<Switch>,
    par: Option<Switch>,
    proxy_opts: Option<Value>,
    refresh_session_interval: Option<i64>,
    client_rsa_private_key: Option<String>,
    introspection_expiry_claim: Option<String>,
}

#[derive(Deserialize)]
struct Switch {
    enabled: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct ClaimValidator {
    pub issuer: Issuer,
    pub audience: Audience,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Issuer {
    pub valid_issuers: Vec<String>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(default)]
pub struct Audience {
    pub claim: String,
    pub required: bool,
    pub match_with_client_id: bool,
}

#[derive(Deserialize)]
pub struct Session {
    pub secret: String,
    storage: String,
    pub cookie_name: Option<String>,
    pub cookie_path: Option<String>,
    pub cookie_domain: Option<String>,
    pub cookie_secure: Option<bool>,
    pub cookie_http_only: Option<bool>,
    pub cookie_same_site: Option<String>,
    /// Seconds, as the others; zero is for ever.
    pub idling_timeout: Option<i64>,
    pub rolling_timeout: Option<i64>,
    pub absolute_timeout: Option<i64>,
    pub cookie: Option<Lifetime>,
}

#[derive(Deserialize)]
pub struct Lifetime {
    pub lifetime: Option<i64>,
}

impl Config {
    /// Says what is missing, and what is asked for that this gateway does not do.
    pub fn check(&self) -> Result<(), String> {
        let is_on = |switch: &Option<Switch>| switch.as_ref().is_some_and(|switch| switch.enabled);
        let local = self.public_key.is_some() || self.use_jwks;
        let secret = self.client_secret.is_some();
        let redis = self.session.as_ref().is_some_and(|session| session.storage != "cookie");
        for (wrong, reason) in [
            (!self.bearer_only && self.session.is_none(), "`session` is required"),
            (self.bearer_only && !local && !secret, "`client_secret` is required"),
            (!self.bearer_only && !self.use_pkce && !secret, "`client_secret` is required"),
            (redis, "sessions in redis are not supported: use `cookie`"),
            (is_on(&self.dpop), "`dpop` is not supported"),
            (is_on(&self.par), "`par` is not supported"),
            (self.proxy_opts.is_some(), "`proxy_opts` is not supported"),
            (self.accept_none_alg, "`accept_none_alg` is not supported"),
            (
                self.refresh_session_interval.is_some(),
                "`refresh_session_interval` is not supported",
            ),
            (self.client_rsa_private_key.is_some(), "`client_rsa_private_key` is not supported"),
            (
                self.introspection_expiry_claim.is_some(),
                "`introspection_expiry_claim` is not supported: nothing is cached",
            ),
        ] {
            if wrong {
                return Err(reason.to_owned());
            }
        }
        Ok(())
    }

    /// The longest that the provider may take for one answer.
    pub fn timeout(&self) -> Duration {
        if self.timeout >= 1000 && self.timeout.is_multiple_of(1000) {
            Duration::from_millis(self.timeout)
        } else {
            Duration::from_secs(self.timeout)
        }
    }
}
