//! The caller's own account.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use gantry_app::{App, email_verification, user};
use gantry_model::Secret;
use gantry_model::user::{ProductTour, User, UserUpdate};
use http::header::{ACCEPT, LOCATION};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::error::Failure;
use crate::extract::{Body, Caller, Params, Stranger};
use crate::session::ended_cookie;

/// Contract, schema `PasswordUpdate`.
#[derive(Deserialize)]
pub struct PasswordUpdate {
    old_password: String,
    new_password: String,
}

/// Contract, schema `VerificationEmailRequest`.
#[derive(Deserialize)]
pub struct VerificationEmailRequest {
    user_id: String,
}

#[derive(Deserialize)]
pub struct OfLink {
    token: String,
}

pub async fn me(Caller(cx): Caller) -> Reply<User> {
    Ok(Answer::new(user::me(&cx).await?))
}

pub async fn update(Caller(cx): Caller, Body(update): Body<UserUpdate>) -> Reply<()> {
    user::update(&cx, update).await?;
    Ok(Answer::empty())
}

pub async fn delete(Caller(cx): Caller, headers: HeaderMap) -> Reply<()> {
    user::delete(&cx).await?;
    let cookie = if cx.dry_run { None } else { ended_cookie(&cx.app, &headers) };
    Ok(Answer::empty().with_cookie(cookie))
}

pub async fn update_password(
    Caller(cx): Caller,
    Body(PasswordUpdate { old_password, new_password }): Body<PasswordUpdate>,
) -> Reply<()> {
    user::update_password(&cx, &Secret::new(old_password), Secret::new(new_password)).await?;
    Ok(Answer::empty())
}

pub async fn update_product_tour(
    Caller(cx): Caller,
    Body(tour): Body<ProductTour>,
) -> Reply<ProductTour> {
    Ok(Answer::new(user::update_product_tour(&cx, tour).await?))
}

pub async fn resend_verification_email(
    State(app): State<App>,
    Stranger(visitor): Stranger,
    Body(VerificationEmailRequest { user_id }): Body<VerificationEmailRequest>,
) -> Reply<()> {
    email_verification::resend(&app, &user_id, &visitor)?;
    Ok(Answer::empty())
}

/// The target of the link in the mail: browsers go on to the console.
pub async fn verify_email(
    State(app): State<App>,
    Stranger(visitor): Stranger,
    headers: HeaderMap,
    Params(OfLink { token }): Params<OfLink>,
) -> Result<Response, Failure> {
    email_verification::confirm(&app, &token, &visitor).await?;
    let accepted = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/html") {
        let console = format!("{}/", app.public_url());
        return Ok((StatusCode::SEE_OTHER, [(LOCATION, console)]).into_response());
    }
    Ok(Answer::empty().into_response())
}
