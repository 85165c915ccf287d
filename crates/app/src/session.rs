//! Signing in and out, sessions that renew themselves, and who a bearer token belongs to.

use gantry_model::user::{LOCAL, LoginResult};
use gantry_model::{Error, Id, Result, Secret, Timestamp};
use gantry_store::session::{self, SessionRow};
use gantry_store::user::UserRow;
use gantry_store::{access_token, user};
use serde_json::json;

use crate::act::act;
use crate::audit::Ledger;
use crate::token::{Claims, Use};
use crate::{Actor, App, Cx, password};

/// How long a session lasts that is not renewed.
const SESSION_S: i64 = 12 * 3600;
/// Age at which a browser's session gets a successor under a new id.
const RENEW_AFTER_S: i64 = 3600;
/// How long a renewed session still counts, for requests that are on their way.
const GRACE_S: i64 = 60;
/// After this time people sign in again, however busy they are.
const SIGN_IN_S: i64 = 7 * 24 * 3600;

const REFUSED: &str = "the e-mail address or the password is wrong";

/// A person at the door: where a request of nobody in particular comes from.
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// Network address, as far as the server knows it.
    pub address: String,
    pub request_id: String,
}

/// Opens a session with the password of a local account. Guesses are counted per e-mail and per
/// address.
pub async fn login(
    app: &App,
    email: &str,
    password: &Secret,
    visitor: &Visitor,
) -> Result<LoginResult> {
    let email = email.trim().to_lowercase();
    let names = [format!("email {email}"), format!("address {}", visitor.address)];
    let names = names.each_ref().map(String::as_str);
    let now = app.now();
    app.throttle.check(&names, now)?;
    let found = user::find_by_email(&mut app.db.read().await?, &email).await?;
    let found = found.filter(|user| user.connection == LOCAL);
    let hash = found.as_ref().map(|user| user.password_hash.clone());
    let fits = password::matches(password.clone(), hash).await?;
    let Some(found) = found.filter(|_| fits) else {
        app.throttle.failed(&names, now);
        tracing::warn!(email, address = visitor.address, "a sign-in failed");
        return Err(Error::unauthorized(REFUSED));
    };
    app.throttle.succeeded(&names);
    if found.verified_at.is_none() {
        return Err(Error::forbidden(format!(
            "open the link in the mail that was sent to this address first; user {} can have it \
             sent again",
            found.id
        )));
    }
    open(app, found, visitor).await
}

/// Opens a session of a user who has proved to be one.
pub(crate) async fn open(app: &App, user: UserRow, visitor: &Visitor) -> Result<LoginResult> {
    let now = app.now();
    let id = app.new_id();
    let expires_at = now.plus_seconds(SESSION_S);
    let user_id = user.id.clone();
    let row = SessionRow {
        id,
        user_id: user_id.clone(),
        sign_in_id: id,
        signed_in_at: now,
        expires_at,
        created_at: now,
    };
    let email = user.email.clone();
    let cx = Cx {
        actor: Actor::User { id: user_id.clone(), email, session: Some(id) },
        request_id: visitor.request_id.clone(),
        ..Cx::system(app, "login")
    };
    let record = json!({ "connection": user.connection, "address": visitor.address });
    act(&cx, Ledger::User(user_id), move |act| {
        Box::pin(async move {
            session::delete_expired(act.tx, act.now).await?;
            session::insert(act.tx, &row).await?;
            act.audit("session", id, None, Some(record));
            Ok(())
        })
    })
    .await?;
    let token = token(app, &user.id, id, expires_at)?;
    let user = crate::user::view(&mut app.db.read().await?, user).await?;
    Ok(LoginResult { token, expire: expires_at, user })
}

/// Ends the session of the caller. With an access token there is none, and nothing to do.
pub async fn logout(cx: &Cx) -> Result<()> {
    let Actor::User { session: Some(id), id: user_id, .. } = &cx.actor else { return Ok(()) };
    let (id, user_id) = (*id, user_id.clone());
    act(cx, Ledger::User(user_id), move |act| {
        Box::pin(async move {
            let Some(ended) = session::find(act.tx, id, act.now).await? else { return Ok(()) };
            session::delete_sign_in(act.tx, ended.sign_in_id).await?;
            act.audit("session", id, Some(json!({ "signed_in_at": ended.signed_in_at })), None);
            Ok(())
        })
    })
    .await
}

/// The token of the session that takes the place of `bearer`'s, if that one is old enough for it
/// and nobody else has renewed it.
pub async fn renew(app: &App, bearer: &str) -> Result<Option<String>> {
    let now = app.now();
    let Claims { sub: user_id, jti: old, iat, purpose, .. } = app.signer.read(bearer, now)?;
    if purpose != Use::Session || iat.saturating_add(RENEW_AFTER_S) > now.seconds() {
        return Ok(None);
    }
    let id = app.new_id();
    let renewed = app.db.write(move |tx| {
        Box::pin(async move {
            let Some(old) = session::find(tx, old, now).await? else { return Ok(None) };
            let last = old.signed_in_at.plus_seconds(SIGN_IN_S);
            let end = now.plus_seconds(GRACE_S).min(old.expires_at);
            if last <= now || !session::retire(tx, old.id, end, now).await? {
                return Ok(None);
            }
            let expires_at = now.plus_seconds(SESSION_S).min(last);
            session::insert(tx, &SessionRow { id, expires_at, created_at: now, ..old }).await?;
            Ok(Some(expires_at))
        })
    });
    let Some(expires_at) = renewed.await? else { return Ok(None) };
    token(app, &user_id, id, expires_at).map(Some)
}

fn token(app: &App, user_id: &str, session: Id, expires_at: Timestamp) -> Result<String> {
    app.signer.sign(&Claims {
        sub: user_id.to_owned(),
        jti: session,
        iat: app.now().seconds(),
        exp: Some(expires_at.seconds()),
        purpose: Use::Session,
    })
}

/// Who sent `bearer`: the token of a session or an access token.
pub async fn authenticate(app: &App, bearer: &str) -> Result<Actor> {
    let now = app.now();
    let claims = app.signer.read(bearer, now)?;
    let mut tx = app.db.read().await?;
    let (user, session) = match claims.purpose {
        Use::Session => (session::user(&mut tx, claims.jti, now).await?, Some(claims.jti)),
        Use::AccessToken => (access_token::user(&mut tx, claims.jti).await?, None),
        Use::Gateway => (None, None),
    };
    let (id, email) =
        user.ok_or_else(|| Error::unauthorized("the token was revoked or has ended"))?;
    Ok(Actor::User { id, email, session })
}
