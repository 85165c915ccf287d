//! Signing in and out with a local account.

use std::net::SocketAddr;

use axum::Extension;
use axum::extract::{ConnectInfo, State};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_app::{App, session, user};
use gantry_model::user::{LoginResult, User};
use gantry_model::{Error, Result, Secret};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller};
use crate::gate::SESSION_COOKIE;

/// Gantry's addition to the contract, schema `LoginRequest`.
#[derive(Deserialize)]
pub struct Login {
    email: String,
    password: String,
}

/// Accounts are local, so there is no other site to go to.
pub async fn login_page() -> Answer<()> {
    Answer::empty()
}

pub async fn login(
    State(app): State<App>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(login): Body<Option<Login>>,
) -> Reply<LoginResult> {
    let Login { email, password } = login.map_or_else(|| basic(&headers), Ok)?;
    // Guesses are counted per address; a server that does not know addresses counts all as one.
    let address =
        peer.map(|Extension(ConnectInfo(peer))| peer.ip().to_string()).unwrap_or_default();
    let result = session::login(&app, &email, &Secret::new(password), &address).await?;
    let cookie = cookie(&headers, &result.token, "");
    Ok(Answer::new(result).with_cookie(cookie))
}

pub async fn logout(Caller(cx): Caller, headers: HeaderMap) -> Reply<()> {
    session::logout(&cx).await?;
    Ok(Answer::empty().with_cookie(cookie(&headers, "", "; Max-Age=0")))
}

pub async fn me(Caller(cx): Caller) -> Reply<User> {
    Ok(Answer::new(user::me(&cx).await?))
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

/// The session's cookie; browsers reach us by TLS only through a proxy, which says so.
fn cookie(headers: &HeaderMap, token: &str, lifetime: &str) -> Option<HeaderValue> {
    let secure = headers.get("x-forwarded-proto").is_some_and(|scheme| scheme == "https");
    let secure = if secure { "; Secure" } else { "" };
    let text =
        format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax{lifetime}{secure}");
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
        let mut headers = HeaderMap::new();
        let plain = "gantry_session=t; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(cookie(&headers, "t", "").unwrap(), plain);
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
        assert_eq!(cookie(&headers, "t", "").unwrap(), format!("{plain}; Secure"));
    }
}
