//! The configuration of openid-connect, and what of it cannot be run.

use std::time::Duration;

use http::HeaderValue;
use reqwest::{ClientBuilder, NoProxy, Proxy};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{dpop, shelf};

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
    /// Seconds; zero asks as long as no claim says how long an answer holds.
    pub introspection_interval: i64,
    pub introspection_expiry_claim: Option<String>,

    pub session: Option<Session>,
    pub redirect_uri: Option<String>,
    pub logout_path: String,
    pub post_logout_redirect_uri: Option<String>,
    pub revoke_tokens_on_logout: bool,
    pub unauth_action: String,
    #[serde(default)]
    pub authorization_params: Map<String, Value>,
    pub token_endpoint_auth_method: String,
    /// Of the kind that the algorithm needs, whatever its name says.
    pub client_rsa_private_key: Option<String>,
    pub client_rsa_private_key_id: Option<String>,
    pub client_jwt_assertion_alg: Option<String>,
    pub client_jwt_assertion_audience: Option<String>,
    /// Seconds.
    pub client_jwt_assertion_expires_in: i64,
    pub par: Option<Par>,
    pub dpop: Option<dpop::Settings>,
    pub accept_none_alg: bool,
    /// Seconds.
    pub refresh_session_interval: Option<i64>,
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

    pub proxy_opts: Option<ProxyOpts>,
}

/// Telling the provider beforehand what a browser will ask (RFC 9126).
#[derive(Deserialize)]
pub struct Par {
    pub enabled: bool,
    pub endpoint: Option<String>,
    pub endpoint_auth_method: Option<String>,
}

/// Proxies on the way to the provider.
#[derive(Deserialize)]
pub struct ProxyOpts {
    http_proxy: Option<String>,
    http_proxy_authorization: Option<String>,
    https_proxy: Option<String>,
    https_proxy_authorization: Option<String>,
    no_proxy: Option<String>,
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
    pub storage: String,
    pub redis: Option<shelf::Settings>,
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
    /// The longest that the provider may take for one answer.
    pub fn timeout(&self) -> Duration {
        if self.timeout >= 1000 && self.timeout.is_multiple_of(1000) {
            Duration::from_millis(self.timeout)
        } else {
            Duration::from_secs(self.timeout)
        }
    }
}

impl ProxyOpts {
    /// Sends what a client asks by these proxies.
    pub fn apply(&self, mut client: ClientBuilder) -> Result<ClientBuilder, String> {
        let direct = self.no_proxy.as_deref().and_then(NoProxy::from_string);
        for (field, url, authorization) in [
            ("http_proxy", &self.http_proxy, &self.http_proxy_authorization),
            ("https_proxy", &self.https_proxy, &self.https_proxy_authorization),
        ] {
            let Some(url) = url else { continue };
            let made = if field == "http_proxy" { Proxy::http(url) } else { Proxy::https(url) };
            let made = made.map_err(|error| format!("`proxy_opts.{field}`: {error}"))?;
            let mut proxy = made.no_proxy(direct.clone());
            if let Some(authorization) = authorization {
                let value = HeaderValue::try_from(authorization).map_err(|_| {
                    format!("`proxy_opts.{field}_authorization` does not fit into a header")
                })?;
                proxy = proxy.custom_http_auth(value);
            }
            client = client.proxy(proxy);
        }
        Ok(client)
    }
}
