//! The identity provider over HTTP: its description, its keys, and what it is asked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use reqwest::{Client, RequestBuilder, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Mutex;

use super::settings::Config;
use crate::plugin::{
    jwt::{Algorithm, Key, Token},
    outbound::{self, Reply},
};

/// How long the description is kept without asking again.
const KEPT: Duration = Duration::from_secs(3600);
/// How long a provider that could not be reached is left alone.
const REST: Duration = Duration::from_secs(1);
/// Shortest time between two readings of the keys because of an unknown one.
const KEYS_EVERY: Duration = Duration::from_secs(10);

pub struct Provider {
    client: Client,
    discovery: String,
    pub client_id: String,
    client_secret: Option<String>,
    token_auth: Auth,
    introspection_auth: Auth,
    introspection_endpoint: Option<String>,
    keys_kept: Duration,
    metadata: Kept<Metadata>,
    keys: Kept<JwkSet>,
    /// Lets one ask at a time; holds why the last one got no answer, and when.
    gate: Mutex<Option<(String, Instant)>>,
}

/// Something the provider has told, and when.
type Kept<T> = ArcSwapOption<(Arc<T>, Instant)>;

/// How we say who we are.
#[derive(Clone, Copy)]
enum Auth {
    Basic,
    Post,
}

/// OpenID Connect Discovery, section 3: what is used of it.
#[derive(Deserialize)]
pub struct Metadata {
    pub issuer: Option<String>,
    pub authorization_endpoint: Option<String>,
    token_endpoint: Option<String>,
    userinfo_endpoint: Option<String>,
    jwks_uri: Option<String>,
    introspection_endpoint: Option<String>,
    pub end_session_endpoint: Option<String>,
    revocation_endpoint: Option<String>,
}

/// What a code or a refresh token is exchanged for.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    /// Seconds.
    pub expires_in: Option<i64>,
}

impl Auth {
    fn new(method: &str, field: &str) -> Result<Self, String> {
        match method {
            "client_secret_basic" => Ok(Self::Basic),
            "client_secret_post" => Ok(Self::Post),
            other => Err(format!("`{field}`: `{other}` is not supported")),
        }
    }
}

impl Provider {
    pub fn new(config: &Config) -> Result<Self, String> {
        let auth = Auth::new;
        let client = outbound::client(config.ssl_verify, config.timeout()).build();
        Url::parse(&config.discovery).map_err(|error| format!("`discovery`: {error}"))?;
        Ok(Self {
            client: client.map_err(|error| error.to_string())?,
            discovery: config.discovery.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            token_auth: auth(&config.token_endpoint_auth_method, "token_endpoint_auth_method")?,
            introspection_auth: auth(
                &config.introspection_endpoint_auth_method,
                "introspection_endpoint_auth_method",
            )?,
            introspection_endpoint: config.introspection_endpoint.clone(),
            keys_kept: Duration::from_secs(config.jwk_expires_in),
            metadata: Kept::default(),
            keys: Kept::default(),
            gate: Mutex::default(),
        })
    }

    /// What the provider says of itself; what it said last if it does not answer now. The error is
    /// a sentence for the log.
    pub async fn metadata(&self) -> Result<Arc<Metadata>, String> {
        if let Some(metadata) = fresh(&self.metadata, KEPT) {
            return Ok(metadata);
        }
        let mut gate = self.gate.lock().await;
        if let Some(metadata) = fresh(&self.metadata, KEPT) {
            return Ok(metadata);
        }
        match self.fetch::<Metadata>(&mut gate, &self.discovery).await {
            Ok(metadata) => Ok(keep(&self.metadata, Arc::new(metadata))),
            Err(reason) => {
                let before = fresh(&self.metadata, Duration::MAX).ok_or(reason)?;
                Ok(keep(&self.metadata, before))
            }
        }
    }

    /// The key a token says it is signed with. A key that is not known makes us read the keys
    /// again, because providers change them, but not as often as somebody likes. Tokens with known
    /// keys do not wait for that.
    pub async fn key(&self, token: &Token<'_>, algorithm: Algorithm) -> Result<Key, String> {
        if let Some(keys) = fresh(&self.keys, self.keys_kept)
            && let Some(key) = signing_key(&keys, token, algorithm)
        {
            return decoding_key(Some(key));
        }
        let url = self.metadata().await?.jwks_uri.clone();
        let url = url.ok_or("the provider publishes no keys")?;
        let mut gate = self.gate.lock().await;
        let keys = match fresh(&self.keys, self.keys_kept.min(KEYS_EVERY)) {
            Some(keys) => keys,
            None => keep(&self.keys, Arc::new(self.fetch(&mut gate, &url).await?)),
        };
        decoding_key(signing_key(&keys, token, algorithm))
    }

    /// Asks for something that is kept; a failure is kept too, for a moment.
    async fn fetch<T: DeserializeOwned>(
        &self,
        failed: &mut Option<(String, Instant)>,
        url: &str,
    ) -> Result<T, String> {
        if let Some((reason, at)) = failed
            && at.elapsed() < REST
        {
            return Err(reason.clone());
        }
        let fetched = successful(outbound::send(self.client.get(url)).await);
        *failed = fetched.as_ref().err().map(|reason| (reason.clone(), Instant::now()));
        fetched
    }

    /// What the client and the provider share, for tokens that are signed with it.
    pub fn shared_key(&self) -> Option<Key> {
        self.client_secret.as_deref().map(Key::secret)
    }

    /// Asks what is known about a token.
    pub async fn introspect(&self, token: &str, addons: HeaderMap) -> Result<Value, String> {
        let url = match &self.introspection_endpoint {
            Some(url) => url.clone(),
            None => self
                .metadata()
                .await?
                .introspection_endpoint
                .clone()
                .ok_or("no introspection endpoint")?,
        };
        let form = [("token", token), ("token_type_hint", "access_token")];
        let request = self.form(&url, self.introspection_auth, &form).headers(addons);
        successful(outbound::send(request).await)
    }

    /// Exchanges what `form` says for tokens.
    pub async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, String> {
        let url = self.metadata().await?.token_endpoint.clone().ok_or("no token endpoint")?;
        successful(outbound::send(self.form(&url, self.token_auth, form)).await)
    }

    /// What the provider tells about a person; None if it tells nothing to anybody.
    pub async fn userinfo(&self, access_token: &str) -> Result<Option<Value>, String> {
        let Some(url) = self.metadata().await?.userinfo_endpoint.clone() else { return Ok(None) };
        successful(outbound::send(self.client.get(url).bearer_auth(access_token)).await).map(Some)
    }

    /// Makes a token worthless, if the provider can.
    pub async fn revoke(&self, token: &str) {
        let metadata = self.metadata().await.ok();
        let Some(url) = metadata.as_ref().and_then(|known| known.revocation_endpoint.as_deref())
        else {
            return;
        };
        if let Err(error) =
            outbound::send(self.form(url, self.token_auth, &[("token", token)])).await
        {
            tracing::warn!(error, "a token could not be revoked");
        }
    }

    fn form(&self, url: &str, auth: Auth, fields: &[(&str, &str)]) -> RequestBuilder {
        let request = self.client.post(url).header("accept", "application/json");
        let (id, secret) = (self.client_id.as_str(), self.client_secret.as_deref());
        let mut fields = fields.to_vec();
        let request = match (auth, secret) {
            (Auth::Basic, Some(secret)) => {
                // Both halves are form-encoded first (RFC 6749, section 2.3.1).
                let pair = format!("{}:{}", encoded(id), encoded(secret));
                request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)))
            }
            (_, secret) => {
                fields.push(("client_id", id));
                fields.extend(secret.map(|secret| ("client_secret", secret)));
                request
            }
        };
        let pairs: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        request.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
    }
}

/// What was told less than `limit` ago.
fn fresh<T>(kept: &Kept<T>, limit: Duration) -> Option<Arc<T>> {
    let kept = kept.load();
    let (value, told_at) = &**kept.as_ref()?;
    (told_at.elapsed() < limit).then(|| Arc::clone(value))
}

fn keep<T>(kept: &Kept<T>, value: Arc<T>) -> Arc<T> {
    kept.store(Some(Arc::new((Arc::clone(&value), Instant::now()))));
    value
}

/// Encodes a text for forms and queries.
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn successful<T: DeserializeOwned>(reply: Result<Reply, String>) -> Result<T, String> {
    let reply = reply?;
    if !reply.status.is_success() {
        return Err(format!("the provider answered {}", reply.status));
    }
    serde_json::from_slice(&reply.body)
        .map_err(|error| format!("the provider's answer cannot be read: {error}"))
}

/// The key that signed a token, if the set has it: by its id, or the only one that could be meant.
fn signing_key<'k>(keys: &'k JwkSet, token: &Token<'_>, algorithm: Algorithm) -> Option<&'k Jwk> {
    let can_sign = |key: &&Jwk| {
        !matches!(key.common.public_key_use, Some(PublicKeyUse::Encryption))
            && is_for(key, algorithm)
    };
    let mut fitting = keys.keys.iter().filter(can_sign).filter(|key| match token.key_id() {
        Some(id) => key.common.key_id.as_deref() == Some(id),
        None => true,
    });
    let first = fitting.next()?;
    fitting.next().is_none().then_some(first)
}

/// Whether a key may be used with an algorithm. One that is for ES512 cannot say so here, but no
/// other algorithm uses its curve.
fn is_for(key: &Jwk, algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Es512 => matches!(&key.algorithm,
            AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P521),
        Algorithm::Other(algorithm) => key
            .common
            .key_algorithm
            .is_none_or(|made_for| made_for == KeyAlgorithm::from(algorithm)),
    }
}

fn decoding_key(key: Option<&Jwk>) -> Result<Key, String> {
    let key = key.ok_or("the token is signed with a key that is not published")?;
    Key::published(key).ok_or_else(|| "the key is of an unknown kind".to_owned())
}
