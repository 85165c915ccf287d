//! The identity provider over HTTP: its description, its keys, and the exchange of codes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_model::{Error, Result, Timestamp};
use jsonwebtoken::jwk::{Jwk, JwkSet};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use super::Settings;
use super::id_token::{self, Expected, Person, Profile};

/// Longest that the provider may take for one answer.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Largest answer that is read; key sets and tokens are a hundredth of it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// How long description and keys are kept without asking again.
const KEPT_S: i64 = 3600;
/// Shortest time between two readings of the keys because of an unknown one, beyond the first few.
const KEYS_EVERY_S: i64 = 60;
/// Readings of the keys because of unknown ones before they have to wait.
const KEYS_AT_ONCE: u32 = 5;

pub(super) struct Provider {
    settings: Settings,
    http: Client,
    known: Mutex<Option<Known>>,
}

/// What the provider has told of itself.
#[derive(Clone)]
struct Known {
    metadata: Metadata,
    keys: JwkSet,
    read_at: Timestamp,
    /// Readings of the keys since then because of unknown ones.
    rereads: u32,
    reread_at: Timestamp,
}

/// OpenID Connect Discovery, §3: what we use of it.
#[derive(Clone, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    userinfo_endpoint: Option<String>,
    jwks_uri: String,
    #[serde(default)]
    token_endpoint_auth_methods_supported: Vec<String>,
}

#[derive(Deserialize)]
struct Tokens {
    access_token: Option<String>,
    id_token: Option<String>,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    error: String,
}

impl Provider {
    pub(super) fn new(settings: Settings) -> Result<Self> {
        // No redirects: an endpoint that sends us elsewhere is not the one that was described.
        let http = Client::builder().timeout(TIMEOUT).redirect(reqwest::redirect::Policy::none());
        let http = http.build().map_err(Error::internal)?;
        Ok(Self { settings, http, known: Mutex::new(None) })
    }

    pub(super) fn issuer(&self) -> &str {
        &self.settings.issuer
    }

    /// Where the browser asks for a code.
    pub(super) async fn authorization_url(
        &self,
        now: Timestamp,
        redirect_uri: &str,
        state: &str,
        nonce: &str,
        challenge: &str,
    ) -> Result<String> {
        let known = self.known(now).await?;
        let mut url =
            Url::parse(&known.metadata.authorization_endpoint).map_err(Error::internal)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", &self.scopes())
            .append_pair("state", state)
            .append_pair("nonce", nonce)
            .append_pair("code_challenge", challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    fn scopes(&self) -> String {
        let others = self.settings.scopes.iter().map(String::as_str);
        let others = others.filter(|scope| *scope != "openid" && !scope.is_empty());
        std::iter::once("openid").chain(others).collect::<Vec<_>>().join(" ")
    }

    /// The person that a code stands for.
    pub(super) async fn redeem(
        &self,
        now: Timestamp,
        redirect_uri: &str,
        code: &str,
        verifier: &str,
        nonce: &str,
    ) -> Result<Person> {
        let metadata = self.known(now).await?.metadata;
        let tokens = self.exchange(&metadata, redirect_uri, code, verifier).await?;
        let id_token = tokens.id_token.ok_or_else(|| refused("it answered without an ID token"))?;
        let header = jsonwebtoken::decode_header(&id_token)
            .map_err(|_| refused("its ID token cannot be read"))?;
        let key = self.key(now, &header).await?;
        let client_id = &self.settings.client_id;
        let expected = Expected { issuer: &self.settings.issuer, client_id, nonce, now };
        let person = id_token::read(&id_token, &key, &expected)?;
        match (&metadata.userinfo_endpoint, tokens.access_token) {
            (Some(endpoint), Some(token)) if !person.email_verified => {
                self.ask(endpoint, &token, &person.subject).await
            }
            _ => Ok(person),
        }
    }

    async fn exchange(
        &self,
        metadata: &Metadata,
        redirect_uri: &str,
        code: &str,
        verifier: &str,
    ) -> Result<Tokens> {
        let request = self.exchange_request(metadata, redirect_uri, code, verifier);
        let (status, body) = read(request).await?;
        if status.is_success() {
            return parsed(&body);
        }
        let said = serde_json::from_slice::<Refusal>(&body).map(|refusal| refusal.error);
        match said.as_deref() {
            Ok("invalid_grant") => Err(refused("the code was used already or is too old")),
            _ => Err(Error::internal(format!(
                "the token endpoint answered {status}: {}",
                said.unwrap_or_default()
            ))),
        }
    }

    fn exchange_request(
        &self,
        metadata: &Metadata,
        redirect_uri: &str,
        code: &str,
        verifier: &str,
    ) -> RequestBuilder {
        let Settings { client_id, client_secret, .. } = &self.settings;
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "authorization_code")
            .append_pair("code", code)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("code_verifier", verifier);
        let mut request = self.http.post(&metadata.token_endpoint);
        let methods = &metadata.token_endpoint_auth_methods_supported;
        let basic = methods.is_empty() || methods.iter().any(|one| one == "client_secret_basic");
        match client_secret {
            Some(secret) if basic => {
                // Both halves are form-encoded first (RFC 6749, §2.3.1).
                let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose()));
                request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
            }
            Some(secret) => {
                form.append_pair("client_id", client_id)
                    .append_pair("client_secret", secret.expose());
            }
            None => {
                form.append_pair("client_id", client_id);
            }
        }
        request
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.finish())
    }

    /// The person's profile, for providers that leave the e-mail address out of ID tokens.
    async fn ask(&self, endpoint: &str, token: &str, subject: &str) -> Result<Person> {
        let (status, body) = read(self.http.get(endpoint).bearer_auth(token)).await?;
        if !status.is_success() {
            return Err(Error::internal(format!("the user-info endpoint answered {status}")));
        }
        let profile: Profile = parsed(&body)?;
        if profile.sub != subject {
            return Err(refused("it described another person than the one who signed in"));
        }
        Ok(profile.into())
    }

    async fn known(&self, now: Timestamp) -> Result<Known> {
        let mut known = self.known.lock().await;
        if let Some(known) = &*known
            && known.read_at.plus_seconds(KEPT_S) > now
        {
            return Ok(known.clone());
        }
        let metadata = self.describe().await?;
        let keys = self.keys(&metadata).await?;
        let new = Known { metadata, keys, read_at: now, rereads: 0, reread_at: now };
        *known = Some(new.clone());
        Ok(new)
    }

    async fn describe(&self) -> Result<Metadata> {
        let issuer = &self.settings.issuer;
        let base = issuer.trim_end_matches('/');
        let url = format!("{base}/.well-known/openid-configuration");
        let metadata: Metadata = self.fetch(&url).await?;
        if metadata.issuer != *issuer {
            return Err(Error::internal(format!(
                "{url} describes the issuer `{}`, not `{issuer}`",
                metadata.issuer
            )));
        }
        Ok(metadata)
    }

    async fn keys(&self, metadata: &Metadata) -> Result<JwkSet> {
        self.fetch(&metadata.jwks_uri).await
    }

    /// The key that signed a token. An unknown one makes us read the provider's keys again, because
    /// providers change them, but not as often as somebody likes.
    async fn key(&self, now: Timestamp, header: &jsonwebtoken::Header) -> Result<Jwk> {
        let unknown = || refused("its ID token is signed with a key it does not publish");
        let mut known = self.known.lock().await;
        let known = known.as_mut().ok_or_else(unknown)?;
        if let Some(key) = id_token::signing_key(&known.keys, header) {
            return Ok(key.clone());
        }
        let rested = known.reread_at.plus_seconds(KEYS_EVERY_S) <= now;
        if known.rereads >= KEYS_AT_ONCE && !rested {
            return Err(unknown());
        }
        known.rereads = known.rereads.saturating_add(1);
        known.reread_at = now;
        known.keys = self.keys(&known.metadata).await?;
        id_token::signing_key(&known.keys, header).cloned().ok_or_else(unknown)
    }

    async fn fetch<T: DeserializeOwned>(&self, url: &str) -> Result<T> {
        let (status, body) = read(self.http.get(url)).await?;
        if !status.is_success() {
            return Err(Error::internal(format!("{url} answered {status}")));
        }
        parsed(&body)
    }
}

fn refused(why: &str) -> Error {
    Error::unauthorized(format!("the identity provider refused: {why}; sign in again"))
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(Error::internal)
}

async fn read(request: RequestBuilder) -> Result<(StatusCode, Vec<u8>)> {
    let mut response = request.send().await.map_err(Error::internal)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(Error::internal)? {
        body.extend(chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(Error::internal("the identity provider answers without end"));
        }
    }
    Ok((response.status(), body))
}
