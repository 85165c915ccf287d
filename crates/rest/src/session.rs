//! Signing in and out: with the password of a local account, or through an identity provider.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_app::oidc::{self, Departure};
use gantry_app::{App, session};
use gantry_model::user::LoginResult;
use gantry_model::{Error, Result, Secret};
use http::header::{AUTHORIZATION, CACHE_CONTROL, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::error::Failure;
use crate::extract::{Body, Caller, Params, Stranger};
use crate::gate::{SESSION_COOKIE, cookie_value};

/// Cookie that holds the browser's half of a sign-in under way.
const SIGN_IN_COOKIE: &str = "gantry_sign_in";

/// Gantry's addition to the contract, schema `LoginRequest`.
#[derive(Deserialize)]
pub struct Login {
    email: String,
    password: String,
}

#[derive(Deserialize)]
pub struct OfCallback {
    state: String,
    code: String,
}

/// Sends the browser to the identity provider. Without one there is no other site to go to.
pub async fn login_page(State(app): State<App>, headers: HeaderMap) -> Result<Response, Failure> {
    let Some(Departure { location, cookie }) = oidc::start(&app).await? else {
        return Ok(Answer::empty().into_response());
    };
    let lifetime = format!("; Max-Age={}", oidc::SIGN_IN_S);
    let cookie = cookie_header(&app, &headers, SIGN_IN_COOKIE, &cookie, &lifetime);
    redirect(StatusCode::TEMPORARY_REDIRECT, &location, [cookie])
}

/// Where the identity provider sends the browser back to.
pub async fn callback(
    State(app): State<App>,
    Stranger(visitor): Stranger,
    headers: HeaderMap,
    Params(OfCallback { state, code }): Params<OfCallback>,
) -> Result<Response, Failure> {
    let underway = cookie_value(&headers, SIGN_IN_COOKIE);
    let login = oidc::finish(&app, underway, &state, &code, &visitor).await?;
    let done = cookie_header(&app, &headers, SIGN_IN_COOKIE, "", "; Max-Age=0");
    let console = format!("{}/", app.public_url());
    let cookies = [done, session_cookie(&app, &headers, &login.token)];
    redirect(StatusCode::SEE_OTHER, &console, cookies)
}

fn redirect<const N: usize>(
    status: StatusCode,
    location: &str,
    cookies: [Option<HeaderValue>; N],
) -> Result<Response, Failure> {
    let location = HeaderValue::from_str(location).map_err(Failure::internal)?;
    let mut response = (status, [(LOCATION, location)]).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Ok(response)
}

pub async fn login(
    State(app): State<App>,
    Stranger(visitor): Stranger,
    headers: HeaderMap,
    Body(login): Body<Option<Login>>,
) -> Reply<LoginResult> {
    let Login { email, password } = login.map_or_else(|| basic(&headers), Ok)?;
    let result = session::login(&app, &email, &Secret::new(password), &visitor).await?;
    let cookie = session_cookie(&app, &headers, &result.token);
    Ok(Answer::new(result).with_cookie(cookie))
}

pub async fn logout(Caller(cx): Caller, headers: HeaderMap) -> Reply<()> {
    session::logout(&cx).await?;
    let cookie = if cx.dry_run { None } else { ended_cookie(&cx.app, &headers) };
    Ok(Answer::empty().with_cookie(cookie))
}

/// The credential of an `Authorization: Basic` header.
fn basic(headers: &HeaderMap) -> Result<Login> {
    let decode = || {
        let (scheme, text) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
        let plain = scheme.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(text).ok())??;
        let (email, password) = std::str::from_utf8(&plain).ok()?.split_once(':')?;
        Some(Login { email: email.to_owned(), password: password.to_owned() })
    };
    decode().ok_or_else(|| {
        Error::unauthorized("send {\"email\", \"password\"} as JSON, or HTTP Basic authorization")
    })
}

/// The cookie of a browser's session.
pub fn session_cookie(app: &App, headers: &HeaderMap, token: &str) -> Option<HeaderValue> {
    cookie_header(app, headers, SESSION_COOKIE, token, "")
}

/// Takes the session's cookie away.
pub fn ended_cookie(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    cookie_header(app, headers, SESSION_COOKIE, "", "; Max-Age=0")
}

fn cookie_header(
    app: &App,
    headers: &HeaderMap,
    name: &str,
    value: &str,
    lifetime: &str,
) -> Option<HeaderValue> {
    cookie(is_private(app.public_url(), headers), name, value, lifetime)
}

/// Whether browsers reach us by TLS, which ends in a proxy before us.
fn is_private(public_url: &str, headers: &HeaderMap) -> bool {
    public_url.starts_with("https://")
        || headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https")
}

fn cookie(private: bool, name: &str, value: &str, lifetime: &str) -> Option<HeaderValue> {
    let secure = if private { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{lifetime}{secure}");
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_read() {
        let mut headers = HeaderMap::new();
        assert!(basic(&headers).is_err());
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Basic YUBiLmM6cDpx"));
        let Login { email, password } = basic(&headers).unwrap();
        assert_eq!((email.as_str(), password.as_str()), ("a@b.c", "p:q"));
    }

    #[test]
    fn the_cookie_is_secure_behind_tls() {
        let plain = "gantry_session=t; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(cookie(false, SESSION_COOKIE, "t", "").unwrap(), plain);
        assert_eq!(cookie(true, SESSION_COOKIE, "t", "").unwrap(), format!("{plain}; Secure"));
        let mut headers = HeaderMap::new();
        assert!(!is_private("http://localhost:7080", &headers));
        assert!(is_private("https://gantry.example.com", &headers));
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert!(is_private("http://localhost:7080", &headers));
    }
}
