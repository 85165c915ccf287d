//! openid-connect: a bearer token that an identity provider vouches for, or a browser that has
//! signed in there. What is said to the provider is in `provider`, and who says it in
//! `authenticating` and `dpop`; tokens are judged in `bearer`, browsers are sent there and back in
//! `sign_in`, and `session` is what they keep in between.
//!
//! Some settings have nothing to set here: what a JWT says is verified every time
//! (`jwt_verification_cache_ignore`), every configuration keeps its own answers (`cache_segment`),
//! and nothing is believed that cannot be verified (`accept_unsupported_alg`).

mod authenticating;
mod bearer;
mod dpop;
mod introspected;
mod provider;
mod session;
mod settings;
mod shelf;
mod sign_in;

use std::sync::Arc;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use gantry_routing::{OwnSchema, plugin as catalog, sentence, vars::Vars};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, SET_COOKIE},
};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, acl::ExternalUser, config};
use crate::{answer::Answer, clock, exchange::Exchange, request};
use bearer::Bearer;
use provider::Provider;
use settings::Config;
use sign_in::SignIn;

pub(super) const KIND: Kind =
    Kind { name: "openid-connect", compile: OpenidConnect::compile, identify: None };

const X_ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
const X_USERINFO: HeaderName = HeaderName::from_static("x-userinfo");
const X_ID_TOKEN: HeaderName = HeaderName::from_static("x-id-token");
const X_REFRESH_TOKEN: HeaderName = HeaderName::from_static("x-refresh-token");
const X_RAW_ID_TOKEN: HeaderName = HeaderName::from_static("x-raw-id-token");

struct OpenidConnect(Arc<Party>);

/// The relying party, in the words of OpenID Connect.
struct Party {
    provider: Provider,
    /// None if bearer tokens do not count.
    bearer: Option<Bearer>,
    /// None if only bearer tokens count.
    sign_in: Option<SignIn>,
    rules: Rules,
    told: Told,
}

/// What has to be true of somebody the provider knows.
struct Rules {
    realm: String,
    required_scopes: Vec<String>,
    schema: Option<OwnSchema>,
}

/// What the upstream is told.
struct Told {
    access_token: bool,
    in_authorization: bool,
    id_token: bool,
    raw_id_token: bool,
    refresh_token: bool,
    userinfo: bool,
}

/// Somebody the provider knows.
#[derive(Default, Serialize, Deserialize)]
struct Identity {
    access_token: Option<String>,
    refresh_token: Option<String>,
    /// As the provider signed it.
    id_token: Option<String>,
    /// Those of the ID token.
    claims: Option<Value>,
    userinfo: Option<Value>,
}

/// What of a request matters for signing in.
struct Visit {
    is_get: bool,
    /// `https://host`.
    origin: String,
    path: String,
    query: String,
    /// Path and query.
    uri: String,
    cookies: Vec<(String, String)>,
}

/// What becomes of a request.
enum Outcome {
    /// It goes on as somebody's; these cookies go to the browser.
    Known(Box<Identity>, Vec<HeaderValue>),
    /// It goes on as nobody's.
    Unknown,
    Refused(Box<Answer>),
}

/// Cookies for the response of a request that goes on, in [`Exchange::notes`].
#[derive(Clone)]
struct Cookies(Vec<HeaderValue>);

impl OpenidConnect {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let left_out = catalog::left_out("openid-connect", value);
        if !left_out.is_empty() {
            return Err(sentence(&left_out));
        }
        let schema = config.claim_schema.as_ref().map(OwnSchema::compile).transpose();
        let rules = Rules {
            realm: config.realm.clone(),
            required_scopes: config.required_scopes.clone(),
            schema: schema.map_err(|error| format!("`claim_schema`: {error}"))?,
        };
        let told = Told {
            access_token: config.set_access_token_header,
            in_authorization: config.access_token_in_authorization_header,
            id_token: config.set_id_token_header,
            raw_id_token: config.set_raw_id_token_header,
            refresh_token: config.set_refresh_token_header,
            userinfo: config.set_userinfo_header,
        };
        Ok(Arc::new(Self(Arc::new(Party {
            provider: Provider::new(&config)?,
            bearer: Bearer::new(&config)?,
            sign_in: if config.bearer_only {
                None
            } else {
                Some(SignIn::new(&config, &place.shared.stores)?)
            },
            rules,
            told,
        }))))
    }
}

impl Plugin for OpenidConnect {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let party = Arc::clone(&self.0);
        let token = take_token(request);
        if let Some(bearer) = &party.bearer {
            match token {
                Ok(Some(token)) => {
                    let addons = bearer.addons(request);
                    let told = Arc::clone(&party);
                    let outcome = async move { party.bearer_outcome(&token, addons).await };
                    return Flow::wait(outcome, move |outcome, exchange, request| {
                        told.finish(outcome, exchange, request)
                    });
                }
                Ok(None) if party.sign_in.is_none() => {
                    return party.rules.challenge(None).into();
                }
                Ok(None) => {}
                Err(Malformed) => return Answer::page(StatusCode::BAD_REQUEST).into(),
            }
        }
        let visit = Visit::new(exchange, request);
        let told = Arc::clone(&party);
        let outcome = async move {
            match &party.sign_in {
                Some(sign_in) => sign_in.visit(&party, &visit).await,
                None => Outcome::Refused(Box::new(party.rules.challenge(None))),
            }
        };
        Flow::wait(outcome, move |outcome, exchange, request| {
            told.finish(outcome, exchange, request)
        })
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        let Some(Cookies(cookies)) = exchange.notes.remove() else { return };
        for cookie in cookies {
            // Fails only if the header map is full.
            let _ = response.append_header(SET_COOKIE, cookie);
        }
    }
}

impl Party {
    async fn bearer_outcome(&self, token: &str, addons: http::HeaderMap) -> Outcome {
        let Some(bearer) = &self.bearer else { return Outcome::Unknown };
        let claims = match bearer.claims(&self.provider, token, addons).await {
            Ok(claims) => claims,
            Err(reason) => return Outcome::refused(self.rules.challenge(Some(&reason))),
        };
        let judged = self
            .rules
            .judge_scope(&claims)
            .and_then(|()| bearer.judge_audience(&claims))
            .and_then(|()| self.rules.judge_schema(&claims));
        match judged {
            Err(answer) => Outcome::Refused(answer),
            Ok(()) => Outcome::Known(
                Box::new(Identity {
                    access_token: Some(token.to_owned()),
                    userinfo: Some(claims),
                    ..Identity::default()
                }),
                Vec::new(),
            ),
        }
    }

    fn finish(
        &self,
        outcome: Outcome,
        exchange: &mut Exchange,
        request: &mut RequestHeader,
    ) -> Flow {
        match outcome {
            Outcome::Unknown => Flow::Next,
            Outcome::Refused(answer) => Flow::Answer(answer),
            Outcome::Known(identity, cookies) => {
                self.told.tell(&identity, request);
                if let Some(user) = identity.userinfo.or(identity.claims) {
                    exchange.notes.insert(ExternalUser(Arc::new(user)));
                }
                if !cookies.is_empty() {
                    exchange.notes.insert(Cookies(cookies));
                }
                Flow::Next
            }
        }
    }
}

impl Outcome {
    fn refused(answer: Answer) -> Self {
        Self::Refused(Box::new(answer))
    }
}

impl Rules {
    /// 401, with what is wrong with the token if there was one.
    fn challenge(&self, reason: Option<&str>) -> Answer {
        let mut challenge = format!("Bearer realm=\"{}\"", self.realm);
        if let Some(reason) = reason {
            let plain = |c: &char| (c.is_ascii_graphic() || *c == ' ') && !"\"\\".contains(*c);
            let reason: String = reason.chars().filter(plain).collect();
            challenge
                .push_str(&format!(", error=\"invalid_token\", error_description=\"{reason}\""));
        }
        let answer = Answer::page(StatusCode::UNAUTHORIZED);
        match HeaderValue::try_from(challenge) {
            Ok(challenge) => answer.header(http::header::WWW_AUTHENTICATE, challenge),
            Err(_) => answer,
        }
    }

    /// Whether `scope` has all that is required. Anything that is not readable has nothing.
    fn judge_scope(&self, claims: &Value) -> Result<(), Box<Answer>> {
        let has = |wanted: &String| match claims.get("scope") {
            Some(Value::String(scopes)) => scopes.split_whitespace().any(|scope| scope == wanted),
            Some(Value::Array(scopes)) => scopes.iter().any(|scope| scope == wanted.as_str()),
            _ => false,
        };
        if self.required_scopes.iter().all(has) {
            return Ok(());
        }
        let scopes = self.required_scopes.join(", ");
        Err(forbidden(&format!("required scopes {scopes} not present")))
    }

    fn judge_schema(&self, claims: &Value) -> Result<(), Box<Answer>> {
        let Some(schema) = &self.schema else { return Ok(()) };
        let checked = schema.check(&mut claims.clone());
        checked.map_err(|reason| Box::new(self.challenge(Some(&reason))))
    }
}

fn forbidden(error: &str) -> Box<Answer> {
    Box::new(Answer::json(StatusCode::FORBIDDEN, &json!({ "error": error })))
}

impl Told {
    fn tell(&self, identity: &Identity, request: &mut RequestHeader) {
        let mut set = |name: HeaderName, value: Option<String>| {
            if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
                // Fails only if the header map is full; then the upstream learns less.
                let _ = request.insert_header(name, value);
            }
        };
        let encoded =
            |value: &Option<Value>| value.as_ref().map(|v| STANDARD.encode(v.to_string()));
        let access_token = identity.access_token.clone().filter(|_| self.access_token);
        if self.in_authorization {
            set(AUTHORIZATION, access_token.map(|token| format!("Bearer {token}")));
        } else {
            set(X_ACCESS_TOKEN, access_token);
        }
        set(X_ID_TOKEN, encoded(&identity.claims).filter(|_| self.id_token));
        set(X_RAW_ID_TOKEN, identity.id_token.clone().filter(|_| self.raw_id_token));
        set(X_REFRESH_TOKEN, identity.refresh_token.clone().filter(|_| self.refresh_token));
        set(X_USERINFO, encoded(&identity.userinfo).filter(|_| self.userinfo));
    }
}

impl Visit {
    fn new(exchange: &Exchange, request: &RequestHeader) -> Self {
        let facts = exchange.facts(request);
        let uri = facts.var("request_uri");
        Self {
            is_get: request.method == Method::GET,
            origin: format!(
                "{}://{}",
                exchange.client_scheme(request),
                request::authority(request)
            ),
            path: exchange.path(request).to_owned(),
            query: request.uri.query().unwrap_or("").to_owned(),
            uri: uri.as_ref().and_then(|uri| uri.text()).unwrap_or_default().into_owned(),
            cookies: request::cookies(request)
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}

/// The Authorization header says something that cannot be understood.
struct Malformed;

/// Takes what only this plugin may say out of the request; answers the bearer token in it.
fn take_token(request: &mut RequestHeader) -> Result<Option<String>, Malformed> {
    let own = request.remove_header(&X_ACCESS_TOKEN);
    for name in [X_USERINFO, X_ID_TOKEN, X_REFRESH_TOKEN, X_RAW_ID_TOKEN] {
        request.remove_header(&name);
    }
    let Some(header) = request.headers.get(AUTHORIZATION) else {
        let token = own.as_ref().and_then(|value| value.to_str().ok());
        return Ok(token.filter(|token| !token.is_empty()).map(str::to_owned));
    };
    let header = header.to_str().map_err(|_| Malformed)?.trim();
    let (scheme, token) = header.split_once(' ').ok_or(Malformed)?;
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned()))
}

/// Seconds of the Unix clock.
fn now() -> i64 {
    i64::try_from(clock::now().as_secs()).unwrap_or(i64::MAX)
}

/// A text that nobody guesses.
fn random() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}
