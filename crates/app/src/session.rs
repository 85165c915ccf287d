//! Signing in and out, and who a bearer token belongs to.

use gantry_model::user::LoginResult;
use gantry_model::{Error, Result, Secret};
use gantry_store::{access_token, session, user};

use crate::token::{Claims, Use};
use crate::{Actor, App, Cx, password};

/// How long a session lasts.
const SESSION_S: i64 = 12 * 3600;

const REFUSED: &str = "the e-mail address or the password is wrong";

/// Opens a session. `address` is where the caller comes from; guesses are counted per e-mail and
/// per address.
pub async fn login(
    app: &App,
    email: &str,
    password: &Secret,
    address: &str,
) -> Result<LoginResult> {
    let email = email.trim().to_lowercase();
    let names = [format!("email {email}"), format!("address {address}")];
    let names = names.each_ref().map(String::as_str);
    let now = app.now();
    app.throttle.check(&names, now)?;
    let found = user::find_by_email(&mut app.db.read().await?, &email).await?;
    let hash = found.as_ref().map(|user| user.password_hash.clone());
    let fits = password::matches(password.clone(), hash).await?;
    let Some(found) = found.filter(|_| fits) else {
        app.throttle.failed(&names, now);
        return Err(Error::unauthorized(REFUSED));
    };
    app.throttle.succeeded(&names);
    let id = app.new_id();
    let expire = now.plus_seconds(SESSION_S);
    let user_id = found.id.clone();
    app.db
        .write(move |tx| {
            Box::pin(async move {
                session::delete_expired(tx, now).await?;
                session::insert(tx, id, &user_id, expire, now).await
            })
        })
        .await?;
    let claims = Claims {
        sub: found.id.clone(),
        jti: id,
        iat: now.seconds(),
        exp: Some(expire.seconds()),
        purpose: Use::Session,
    };
    let token = app.signer.sign(&claims)?;
    let user = crate::user::view(&mut app.db.read().await?, found).await?;
    Ok(LoginResult { token, expire, user })
}

/// Ends the session of the caller. With an access token there is none, and nothing to do.
pub async fn logout(cx: &Cx) -> Result<()> {
    let Actor::User { session: Some(id), .. } = cx.actor else { return Ok(()) };
    cx.app.db.write(move |tx| Box::pin(session::delete(tx, id))).await
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
