//! Browsers: sent to the provider to sign in, taken back with a code, known by their session, and
//! sent away again.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderValue, StatusCode,
    header::{LOCATION, SET_COOKIE},
};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{
    Identity, Outcome, Party, Visit,
    bearer::{Trust, names},
    now,
    provider::{Provider, Tokens, encoded},
    random,
    session::{Jar, Session},
    settings::Config,
    shelf::Shelf,
};
use crate::{
    answer::Answer,
    plugin::{
        jwt::{Family, Token},
        redis::Stores,
        url,
    },
};

/// Where the provider sends browsers unless the configuration says.
const CALLBACK: &str = "/.apisix/redirect";
/// How long an access token is good if nobody says; seconds.
const EXPIRES_IN: i64 = 3600;
/// How long a browser may take at the provider; seconds.
const UNDERWAY: i64 = 3600;
/// What a provider says that has nobody to ask (OpenID Connect Core, section 3.1.2.6).
const NEEDS_SOMEBODY: [&str; 4] =
    ["login_required", "interaction_required", "consent_required", "account_selection_required"];
/// How often a sign-in that went wrong is begun anew.
const REPEATS_MAX: u8 = 3;

pub struct SignIn {
    jar: Jar,
    trust: Trust,
    scope: String,
    params: Vec<(String, String)>,
    redirect_uri: Option<String>,
    logout_path: String,
    after_logout: Option<String>,
    revoke: bool,
    unauthenticated: Action,
    use_pkce: bool,
    use_nonce: bool,
    force: bool,
    renew: bool,
    /// After how many seconds the provider is asked whether the browser is still signed in there.
    refresh: Option<i64>,
    /// Whether ID tokens will do that nobody has signed: they come from the provider itself.
    accepts_unsigned: bool,
    expires_in: i64,
    leeway: i64,
    wants_userinfo: bool,
}

/// What happens to browsers that have not signed in.
enum Action {
    SignIn,
    Deny,
    Pass,
}

/// What has to be known when a browser comes back.
#[derive(Serialize, Deserialize)]
struct Departure {
    state: String,
    nonce: String,
    verifier: String,
    redirect_uri: String,
    /// Path and query of the page that was asked for.
    target: String,
    /// Seconds of the Unix clock.
    until: i64,
    repeats: u8,
    /// Whether the provider was told not to ask anybody.
    #[serde(default)]
    silent: bool,
}

impl SignIn {
    pub fn new(config: &Config, stores: &Stores) -> Result<Self, String> {
        let session = config.session.as_ref().ok_or("`session` is required")?;
        let shelf = session.redis.as_ref().filter(|_| session.storage == "redis");
        let shelf = shelf.map(|settings| Shelf::new(settings, stores)).transpose()?;
        let param = |(name, value): (&String, &Value)| match value {
            Value::String(text) => (name.clone(), text.clone()),
            other => (name.clone(), other.to_string()),
        };
        Ok(Self {
            jar: Jar::new(session, &config.client_id, shelf)?,
            trust: Trust::new(config)?,
            scope: config.scope.clone(),
            params: config.authorization_params.iter().map(param).collect(),
            redirect_uri: config.redirect_uri.clone(),
            logout_path: config.logout_path.clone(),
            after_logout: config.post_logout_redirect_uri.clone(),
            revoke: config.revoke_tokens_on_logout,
            unauthenticated: match config.unauth_action.as_str() {
                "deny" => Action::Deny,
                "pass" => Action::Pass,
                _ => Action::SignIn,
            },
            use_pkce: config.use_pkce,
            use_nonce: config.use_nonce,
            force: config.force_reauthorize,
            renew: config.renew_access_token_on_expiry,
            refresh: config.refresh_session_interval,
            accepts_unsigned: config.accept_none_alg,
            expires_in: config.access_token_expires_in.unwrap_or(EXPIRES_IN),
            leeway: config.access_token_expires_leeway,
            wants_userinfo: config.set_userinfo_header,
        })
    }

    pub async fn visit(&self, party: &Party, visit: &Visit) -> Outcome {
        let outcome = if visit.path == self.logout_path {
            self.sign_out(&party.provider, visit).await
        } else if visit.path == self.callback_path(visit) {
            self.come_back(&party.provider, visit).await
        } else {
            self.known(party, visit).await
        };
        outcome.unwrap_or_else(|error| {
            tracing::warn!(error, "signing in failed");
            Outcome::refused(Answer::page(StatusCode::INTERNAL_SERVER_ERROR))
        })
    }

    async fn known(&self, party: &Party, visit: &Visit) -> Result<Outcome, String> {
        let session = self.jar.session(visit).await?.filter(|_| !self.force);
        let Some(mut session) = session else { return self.unknown(&party.provider, visit).await };
        let is_stale = self.refresh.is_some_and(|seconds| now() - session.began >= seconds);
        if is_stale && visit.is_get {
            return self.send_away(&party.provider, visit, true).await;
        }
        let expired = self.renew && now() >= session.expires.saturating_sub(self.leeway);
        if expired && let Err(error) = self.renew(&party.provider, &mut session).await {
            tracing::debug!(error, "a session could not be renewed");
            return self.unknown(&party.provider, visit).await;
        }
        if let Err(answer) = judge(party, &session.identity) {
            return Ok(Outcome::Refused(answer));
        }
        let cookies = if expired || self.jar.is_ageing(&session) {
            session.renewed = now();
            self.jar.keep(visit, &session).await?
        } else {
            Vec::new()
        };
        Ok(Outcome::Known(Box::new(session.identity), cookies))
    }

    async fn unknown(&self, provider: &Provider, visit: &Visit) -> Result<Outcome, String> {
        match self.unauthenticated {
            Action::Pass => Ok(Outcome::Unknown),
            Action::Deny => Ok(Outcome::refused(Answer::page(StatusCode::UNAUTHORIZED))),
            Action::SignIn => self.send_away(provider, visit, false).await,
        }
    }

    /// The path the provider sends browsers to.
    fn callback_path(&self, visit: &Visit) -> String {
        match &self.redirect_uri {
            None if visit.path.ends_with(CALLBACK) => visit.path.clone(),
            None => String::new(),
            Some(uri) if uri.starts_with('/') => uri.clone(),
            Some(uri) => {
                Url::parse(uri).map_or_else(|_| String::new(), |url| url.path().to_owned())
            }
        }
    }

    fn redirect_uri(&self, visit: &Visit) -> String {
        let origin = &visit.origin;
        match &self.redirect_uri {
            None => format!("{origin}{}{CALLBACK}", visit.path.trim_end_matches('/')),
            Some(uri) if uri.starts_with('/') => format!("{origin}{uri}"),
            Some(uri) => uri.clone(),
        }
    }

    /// `silent` is whether the provider may not ask anybody.
    async fn send_away(
        &self,
        provider: &Provider,
        visit: &Visit,
        silent: bool,
    ) -> Result<Outcome, String> {
        let endpoint = provider.metadata().await?.authorization_endpoint.clone();
        let mut url = parsed(&endpoint.ok_or("the provider has no authorization endpoint")?)?;
        let earlier: Option<Departure> = self.jar.departure(visit);
        let departure = Departure {
            state: random(),
            nonce: random(),
            verifier: random(),
            redirect_uri: self.redirect_uri(visit),
            target: visit.uri.clone(),
            until: now().saturating_add(UNDERWAY),
            repeats: earlier.map_or(0, |departure| departure.repeats),
            silent,
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&departure.verifier));
        let asked = self.asked(provider, &departure, &challenge);
        match provider.push(&asked).await? {
            None => url.query_pairs_mut().extend_pairs(&asked),
            Some(pushed) => url
                .query_pairs_mut()
                .append_pair("client_id", &provider.client_id)
                .append_pair("request_uri", &pushed),
        };
        redirect(url.as_str(), self.jar.note(visit, &departure)?)
    }

    /// What the provider is asked (OpenID Connect Core, section 3.1.2.1).
    fn asked<'a>(
        &'a self,
        provider: &'a Provider,
        departure: &'a Departure,
        challenge: &'a str,
    ) -> Vec<(&'a str, &'a str)> {
        let mut asked = vec![
            ("response_type", "code"),
            ("client_id", &*provider.client_id),
            ("redirect_uri", &*departure.redirect_uri),
            ("scope", &*self.scope),
            ("state", &*departure.state),
        ];
        if self.use_nonce {
            asked.push(("nonce", &departure.nonce));
        }
        if self.use_pkce {
            asked.push(("code_challenge", challenge));
            asked.push(("code_challenge_method", "S256"));
        }
        let params = self.params.iter().map(|(name, value)| (&**name, &**value));
        asked.extend(params.filter(|(name, _)| !departure.silent || *name != "prompt"));
        if departure.silent {
            asked.push(("prompt", "none"));
        }
        asked
    }

    async fn come_back(&self, provider: &Provider, visit: &Visit) -> Result<Outcome, String> {
        let departure: Departure =
            self.jar.departure(visit).ok_or("nobody left for the provider in this browser")?;
        let argument = |name: &str| url::argument(&visit.query, name);
        let state = argument("state").unwrap_or_default();
        let same = bool::from(departure.state.as_bytes().ct_eq(state.as_bytes()));
        let error = argument("error");
        let stale = !same || departure.until <= now();
        if stale || error.as_deref() == Some("temporarily_unavailable") {
            return self.repeat(visit, departure);
        }
        if let Some(error) = error {
            if departure.silent && NEEDS_SOMEBODY.contains(&&*error) {
                // The session is over there, so it is over here.
                let target = format!("{}{}", visit.origin, departure.target);
                return redirect(&target, self.jar.clear(visit).await?);
            }
            return Err(format!("the provider says `{error}`"));
        }
        let code = argument("code").ok_or("the provider sent no code")?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", &departure.redirect_uri),
        ];
        if self.use_pkce {
            form.push(("code_verifier", &departure.verifier));
        }
        let tokens = provider.tokens(&form).await?;
        let nonce = self.use_nonce.then_some(departure.nonce.as_str());
        let session = self.begin(provider, tokens, nonce).await?;
        let mut cookies = self.jar.begin(visit, &session).await?;
        cookies.extend(self.jar.clear_departure(visit));
        redirect(&format!("{}{}", visit.origin, departure.target), cookies)
    }

    /// Begins again at the page that was asked for, but not for ever.
    fn repeat(&self, visit: &Visit, mut departure: Departure) -> Result<Outcome, String> {
        departure.repeats = departure.repeats.saturating_add(1);
        if departure.repeats > REPEATS_MAX || !visit.is_get {
            return Err("the browser came back with another state than it left with".to_owned());
        }
        let target = format!("{}{}", visit.origin, departure.target);
        redirect(&target, self.jar.note(visit, &departure)?)
    }

    async fn begin(
        &self,
        provider: &Provider,
        tokens: Tokens,
        nonce: Option<&str>,
    ) -> Result<Session, String> {
        let id_token = tokens.id_token.as_deref().ok_or("the provider sent no ID token")?;
        let claims = self.claims(provider, id_token, nonce).await?;
        let mut userinfo = None;
        if self.wants_userinfo {
            userinfo = provider.userinfo(&tokens).await?;
            let subject = userinfo.as_ref().map(|info| info.get("sub"));
            if subject.is_some_and(|subject| subject != claims.get("sub")) {
                return Err("the provider described another person".to_owned());
            }
        }
        let now = now();
        Ok(Session {
            expires: now.saturating_add(tokens.expires_in.unwrap_or(self.expires_in)),
            identity: Identity {
                access_token: tokens.access_token,
                refresh_token: tokens.refresh_token,
                id_token: tokens.id_token,
                claims: Some(claims),
                userinfo,
            },
            began: now,
            renewed: now,
        })
    }

    /// What an ID token says, if the provider made it for us and for this sign-in (OpenID Connect
    /// Core, section 3.1.3.7).
    async fn claims(
        &self,
        provider: &Provider,
        text: &str,
        nonce: Option<&str>,
    ) -> Result<Value, String> {
        let token = Token::parse(text).ok_or("the ID token is not a JWT")?;
        if self.accepts_unsigned && token.is_unsigned() {
            self.trust.check_unsigned(&token)?;
        } else {
            let algorithm = self.trust.algorithm(&token)?;
            let key = if algorithm.family() == Family::Secret {
                provider.shared_key().ok_or("the ID token is signed with a secret nobody has")?
            } else {
                provider.key(&token, algorithm).await?
            };
            self.trust.check(&token, &key, algorithm)?;
        }
        let issuer = provider.metadata().await?.issuer.clone();
        let claims = Value::Object(token.claims().clone());
        let audience = claims.get("aud").is_some_and(|aud| names(aud, &provider.client_id));
        let party = token.claim("azp").is_none_or(|azp| azp == provider.client_id);
        let complete = ["exp", "iat", "sub"].iter().all(|name| claims.get(name).is_some());
        let ours = token.claim("iss") == issuer.as_deref() && audience && party && complete;
        if !ours {
            return Err("the ID token is not for us".to_owned());
        }
        match nonce {
            Some(nonce) if token.claim("nonce") != Some(nonce) => {
                Err("the ID token belongs to another sign-in".to_owned())
            }
            _ => Ok(claims),
        }
    }

    /// Exchanges the refresh token for a new access token.
    async fn renew(&self, provider: &Provider, session: &mut Session) -> Result<(), String> {
        let refresh = session.identity.refresh_token.take().ok_or("there is no refresh token")?;
        let form =
            [("grant_type", "refresh_token"), ("refresh_token", &refresh), ("scope", &self.scope)];
        let tokens = provider.tokens(&form).await?;
        if let Some(id_token) = tokens.id_token {
            let claims = self.claims(provider, &id_token, None).await?;
            let subject = session.identity.claims.as_ref().and_then(|claims| claims.get("sub"));
            if subject != claims.get("sub") {
                return Err("the provider renewed the session of another person".to_owned());
            }
            session.identity.claims = Some(claims);
            session.identity.id_token = Some(id_token);
        }
        session.identity.access_token = tokens.access_token;
        session.identity.refresh_token = tokens.refresh_token.or(Some(refresh));
        session.expires = now().saturating_add(tokens.expires_in.unwrap_or(self.expires_in));
        Ok(())
    }

    async fn sign_out(&self, provider: &Provider, visit: &Visit) -> Result<Outcome, String> {
        let Ok(metadata) = provider.metadata().await else {
            return Ok(Outcome::refused(Answer::page(StatusCode::SERVICE_UNAVAILABLE)));
        };
        let session = self.jar.session(visit).await?;
        let identity = session.map(|session| session.identity).unwrap_or_default();
        if self.revoke {
            for token in [&identity.refresh_token, &identity.access_token].into_iter().flatten() {
                provider.revoke(token).await;
            }
        }
        let cookies = self.jar.clear(visit).await?;
        let Some(endpoint) = &metadata.end_session_endpoint else {
            return match &self.after_logout {
                Some(url) => redirect(url, cookies),
                None => Ok(Outcome::refused(with(
                    Answer::text(StatusCode::OK, "Logged out\n"),
                    cookies,
                ))),
            };
        };
        let mut url = endpoint.clone();
        let mut append = |name: &str, value: &str| {
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str(&format!("{name}={}", encoded(value)));
        };
        if let Some(id_token) = &identity.id_token {
            append("id_token_hint", id_token);
        }
        if let Some(after) = &self.after_logout {
            append("post_logout_redirect_uri", after);
        }
        redirect(&url, cookies)
    }
}

/// Whether somebody who has signed in may go on: by the access token if it can be read, else by
/// the ID token.
fn judge(party: &Party, identity: &Identity) -> Result<(), Box<Answer>> {
    let rules = &party.rules;
    if !rules.required_scopes.is_empty() {
        let access = identity.access_token.as_deref().and_then(Token::parse);
        let access = access.map(|token| Value::Object(token.claims().clone()));
        let claims = access.as_ref().or(identity.claims.as_ref()).unwrap_or(&Value::Null);
        rules.judge_scope(claims)?;
    }
    if rules.schema.is_none() {
        return Ok(());
    }
    rules.judge_schema(&json!({
        "access_token": identity.access_token,
        "id_token": identity.claims,
        "user": identity.userinfo,
    }))
}

fn redirect(location: &str, cookies: Vec<HeaderValue>) -> Result<Outcome, String> {
    let location = HeaderValue::try_from(location)
        .map_err(|_| "the address does not fit into a header".to_owned())?;
    let answer = Answer::page(StatusCode::FOUND).header(LOCATION, location);
    Ok(Outcome::refused(with(answer, cookies)))
}

/// An answer with cookies, which no cache may keep.
fn with(answer: Answer, cookies: Vec<HeaderValue>) -> Answer {
    let answer = answer.header(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cookies.into_iter().fold(answer, |answer, cookie| answer.header(SET_COOKIE, cookie))
}

fn parsed(url: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))
}
