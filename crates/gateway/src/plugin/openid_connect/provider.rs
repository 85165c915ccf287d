//! The identity provider over HTTP: its description, its keys, and what it is asked.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse,
};
use reqwest::{Client, RequestBuilder, Url};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Mutex;

use super::{authenticating::Auth, dpop::Dpop, settings::Config};
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
    /// None if browsers bring what they ask.
    pushing: Option<Pushing>,
    dpop: Option<Dpop>,
    introspection_endpoint: Option<String>,
    keys_kept: Duration,
    metadata: Kept<Metadata>,
    keys: Kept<JwkSet>,
    /// Lets one ask at a time; holds why the last one got no answer, and when.
    gate: Mutex<Option<(String, Instant)>>,
}

/// Something the provider has told, and when.
type Kept<T> = ArcSwapOption<(Arc<T>, Instant)>;

/// Where the provider is told what a browser will ask.
struct Pushing {
    /// None is where the provider says.
    endpoint: Option<String>,
    auth: Auth,
}

/// What it is told is kept under (RFC 9126, section 2.2).
#[derive(Deserialize)]
struct Pushed {
    request_uri: String,
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
    pushed_authorization_request_endpoint: Option<String>,
}

/// What a code or a refresh token is exchanged for.
#[derive(Deserialize)]
pub struct Tokens {
    pub access_token: Option<String>,
    pub refresh_token: Option<String>,
    pub id_token: Option<String>,
    token_type: Option<String>,
    /// Seconds.
    pub expires_in: Option<i64>,
}

impl Provider {
    pub fn new(config: &Config) -> Result<Self, String> {
        let auth = |method: &str, field: &str| Auth::new(config, method, field);
        let mut client = outbound::client(config.ssl_verify, config.timeout());
        if let Some(proxies) = &config.proxy_opts {
            client = proxies.apply(client)?;
        }
        Url::parse(&config.discovery).map_err(|error| format!("`discovery`: {error}"))?;
        let token_method = config.token_endpoint_auth_method.as_str();
        let par = config.par.as_ref().filter(|par| par.enabled);
        let pushing = par.map(|par| {
            let method = par.endpoint_auth_method.as_deref().unwrap_or(token_method);
            let auth = auth(method, "par.endpoint_auth_method")?;
            Ok::<_, String>(Pushing { endpoint: par.endpoint.clone(), auth })
        });
        Ok(Self {
            client: client.build().map_err(|error| error.to_string())?,
            discovery: config.discovery.clone(),
            client_id: config.client_id.clone(),
            client_secret: config.client_secret.clone(),
            token_auth: auth(token_method, "token_endpoint_auth_method")?,
            introspection_auth: auth(
                &config.introspection_endpoint_auth_method,
                "introspection_endpoint_auth_method",
            )?,
            pushing: pushing.transpose()?,
            dpop: Dpop::new(config.dpop.as_ref())?,
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
        let request = self.form(&url, &self.introspection_auth, &form)?.headers(addons);
        successful(outbound::send(request).await)
    }

    /// Exchanges what `form` says for tokens.
    pub async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, String> {
        let url = self.metadata().await?.token_endpoint.clone().ok_or("no token endpoint")?;
        let request = || self.form(&url, &self.token_auth, form);
        successful(self.send_proven("POST", &url, None, request).await)
    }

    /// Tells the provider what a browser will ask; what the browser has to bring instead. None if
    /// that is not configured.
    pub async fn push(&self, fields: &[(&str, &str)]) -> Result<Option<String>, String> {
        let Some(pushing) = &self.pushing else { return Ok(None) };
        let url = match &pushing.endpoint {
            Some(url) => url.clone(),
            None => {
                let metadata = self.metadata().await?;
                let url = metadata.pushed_authorization_request_endpoint.clone();
                url.ok_or("no endpoint for pushed authorization requests")?
            }
        };
        let request = || self.form(&url, &pushing.auth, fields);
        let pushed: Pushed = successful(self.send_proven("POST", &url, None, request).await)?;
        Ok(Some(pushed.request_uri))
    }

    /// What the provider tells about a person; None if it tells nothing to anybody.
    pub async fn userinfo(&self, tokens: &Tokens) -> Result<Option<Value>, String> {
        let url = self.metadata().await?.userinfo_endpoint.clone();
        let Some((url, token)) = url.zip(tokens.access_token.as_deref()) else { return Ok(None) };
        let kind = tokens.token_type.as_deref().unwrap_or_default();
        let reply = if self.dpop.is_some() && kind.eq_ignore_ascii_case("dpop") {
            let bound = format!("DPoP {token}");
            let request = || Ok(self.client.get(&url).header(AUTHORIZATION, &bound));
            self.send_proven("GET", &url, Some(token), request).await
        } else {
            outbound::send(self.client.get(&url).bearer_auth(token)).await
        };
        successful(reply).map(Some)
    }

    /// Makes a token worthless, if the provider can.
    pub async fn revoke(&self, token: &str) {
        let metadata = self.metadata().await.ok();
        let Some(url) = metadata.as_ref().and_then(|known| known.revocation_endpoint.as_deref())
        else {
            return;
        };
        let revoked = async {
            let request = self.form(url, &self.token_auth, &[("token", token)])?;
            outbound::send(request).await
        };
        if let Err(error) = revoked.await {
            tracing::warn!(error, "a token could not be revoked");
        }
    }

    /// Sends a request with a proof, and once more if the endpoint wants another one.
    async fn send_proven(
        &self,
        method: &str,
        url: &str,
        access_token: Option<&str>,
        request: impl Fn() -> Result<RequestBuilder, String>,
    ) -> Result<Reply, String> {
        let Some(dpop) = &self.dpop else { return outbound::send(request()?).await };
        let send = async || {
            let proof = dpop.proof(method, url, access_token)?;
            outbound::send(request()?.header("dpop", proof)).await
        };
        let reply = send().await?;
        let is_new = dpop.note(url, &reply.headers);
        if reply.status.is_success() || !is_new { Ok(reply) } else { send().await }
    }

    /// A form in this client's name.
    fn form(
        &self,
        url: &str,
        auth: &Auth,
        fields: &[(&str, &str)],
    ) -> Result<RequestBuilder, String> {
        let added = auth.added(url)?;
        let own = added.fields.iter().map(|(name, value)| (*name, value.as_str()));
        let is_own = |name: &str| added.fields.iter().any(|(own, _)| *own == name);
        let pairs: Vec<String> = fields
            .iter()
            .copied()
            .filter(|(name, _)| !is_own(name))
            .chain(own)
            .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
            .collect();
        let mut request = self.client.post(url).header("accept", "application/json");
        if let Some(header) = &added.header {
            request = request.header(AUTHORIZATION, header);
        }
        request = request.header("content-type", "application/x-www-form-urlencoded");
        Ok(request.body(pairs.join("&")))
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
