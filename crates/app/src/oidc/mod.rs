//! Signing in through an identity provider: OpenID Connect's authorization code flow with PKCE.
//! What is said to the provider is in `provider`, what its ID tokens have to be in `id_token`.

mod id_token;
mod provider;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gantry_model::user::LoginResult;
use gantry_model::{Error, Result, Secret};
use gantry_store::user::{self, UserRow};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use self::id_token::Person;
use self::provider::Provider;
use crate::act::act;
use crate::audit::Ledger;
use crate::seal::random_text;
use crate::session::{self, Visitor};
use crate::{App, Cx};

/// Seconds that a person may take at the provider; the browser keeps its half for as long.
pub const SIGN_IN_S: i64 = 600;
/// Where the sealed half of a sign-in belongs.
const PLACE: &str = "oidc/sign-in";
/// Path of the operation that ends a sign-in.
const CALLBACK: &str = "/api/v1/user/callback";

const EXPIRED: &str = "this sign-in was not started in this browser, or too long ago: start again";

/// An identity provider, and whom it may bring.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Exactly as the provider spells it, such as `https://accounts.example.com`.
    pub issuer: String,
    pub client_id: String,
    /// Without it we are a public client, and PKCE alone proves who redeems a code.
    pub client_secret: Option<Secret>,
    /// `openid` is asked for in any case.
    pub scopes: Vec<String>,
    /// Whether people without an account get one.
    pub allow_signup: bool,
    /// If there are any, only addresses in these domains get an account.
    pub allowed_domains: Vec<String>,
}

pub(crate) struct Oidc {
    provider: Provider,
    allow_signup: bool,
    allowed_domains: Vec<String>,
}

/// Where a browser goes to sign in, and what it has to bring back.
pub struct Departure {
    pub location: String,
    /// For a cookie: sealed, and only good for this sign-in.
    pub cookie: String,
}

/// What we need to know when a person comes back from the provider.
#[derive(Serialize, Deserialize)]
struct Underway {
    state: String,
    nonce: String,
    verifier: String,
    /// Unix seconds.
    until: i64,
}

impl Oidc {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let allow_signup = settings.allow_signup;
        let lower = |domain: &String| domain.trim().to_lowercase();
        let allowed_domains = settings.allowed_domains.iter().map(lower).collect();
        Ok(Self { provider: Provider::new(settings)?, allow_signup, allowed_domains })
    }

    /// Why a person gets no account, if so.
    fn refuses(&self, email: &str) -> Option<&'static str> {
        let domain = email.rsplit_once('@').map_or("", |(_, domain)| domain);
        if !self.allow_signup {
            Some("you have no account here: ask for an invitation")
        } else if !self.allowed_domains.is_empty()
            && !self.allowed_domains.iter().any(|allowed| allowed == domain)
        {
            Some("accounts are not made for addresses in this domain: ask for an invitation")
        } else {
            None
        }
    }
}

/// Begins a sign-in; `None` without an identity provider.
pub async fn start(app: &App) -> Result<Option<Departure>> {
    let Some(oidc) = &app.oidc else { return Ok(None) };
    let underway = Underway {
        state: random_text::<24>(),
        nonce: random_text::<24>(),
        verifier: random_text::<32>(),
        until: app.now().plus_seconds(SIGN_IN_S).seconds(),
    };
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(underway.verifier.as_bytes()));
    let location = oidc
        .provider
        .authorization_url(
            app.now(),
            &redirect_uri(app),
            &underway.state,
            &underway.nonce,
            &challenge,
        )
        .await?;
    Ok(Some(Departure { location, cookie: app.sealer.seal_json(PLACE, &underway)? }))
}

/// Ends a sign-in: redeems `code` and opens a session. `cookie` is what [`start`] gave the browser.
pub async fn finish(
    app: &App,
    cookie: Option<&str>,
    state: &str,
    code: &str,
    visitor: &Visitor,
) -> Result<LoginResult> {
    let oidc = app.oidc.as_ref().ok_or_else(|| Error::not_found("identity provider"))?;
    let expired = || Error::unauthorized(EXPIRED);
    let sealed = cookie.ok_or_else(expired)?;
    let underway: Underway = app.sealer.open_json(PLACE, sealed).map_err(|_| expired())?;
    let same_state = bool::from(underway.state.as_bytes().ct_eq(state.as_bytes()));
    if !same_state || underway.until <= app.now().seconds() {
        tracing::warn!(address = visitor.address, "a sign-in with a foreign or old state");
        return Err(expired());
    }
    let person = oidc
        .provider
        .redeem(app.now(), &redirect_uri(app), code, &underway.verifier, &underway.nonce)
        .await
        .inspect_err(|error| {
            let reason = error as &dyn std::error::Error;
            tracing::warn!(error = reason, address = visitor.address, "a sign-in failed");
        })?;
    let user = account(app, oidc, person, visitor).await?;
    session::open(app, user, visitor).await
}

fn redirect_uri(app: &App) -> String {
    format!("{}{CALLBACK}", app.public_url)
}

/// The account of a person, made if there is none and one may be made.
async fn account(app: &App, oidc: &Oidc, person: Person, visitor: &Visitor) -> Result<UserRow> {
    let issuer = oidc.provider.issuer();
    let mut tx = app.db.read().await?;
    if let Some(known) = user::find_by_subject(&mut tx, issuer, &person.subject).await? {
        return Ok(known);
    }
    let email = person.email.as_deref().unwrap_or_default().trim().to_lowercase();
    if email.is_empty() || !person.email_verified {
        return Err(Error::forbidden(
            "the identity provider does not say that your e-mail address is verified",
        ));
    }
    if user::find_by_email(&mut tx, &email).await?.is_some() {
        // Whoever runs the provider must not take over accounts that it did not make.
        return Err(Error::conflict(
            "an account with your e-mail address signs in in another way: use that one",
        ));
    }
    let invited = gantry_store::member::is_invited(&mut tx, &email, app.now()).await?;
    if let Some(why) = oidc.refuses(&email).filter(|_| !invited) {
        return Err(Error::forbidden(why));
    }
    drop(tx);
    let row = UserRow {
        first_name: person.first_name,
        last_name: person.last_name,
        avatar_url: person.avatar_url,
        connection: issuer.to_owned(),
        subject: Some(person.subject),
        verified_at: Some(app.now()),
        ..crate::user::new(app, &email, String::new())
    };
    let cx = Cx { request_id: visitor.request_id.clone(), ..Cx::system(app, "identityCallback") };
    act(&cx, Ledger::User(row.id.clone()), move |act| {
        Box::pin(async move {
            crate::user::insert(act, &row).await?;
            Ok(row)
        })
    })
    .await
}
