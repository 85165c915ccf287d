//! Personal access tokens of the caller.

use gantry_app::access_token;
use gantry_model::access_token::{AccessToken, AccessTokenCreate};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, Params};

#[derive(Deserialize)]
pub struct OfToken {
    id: Id,
}

pub async fn list(Caller(cx): Caller, List(query): List) -> Reply<Page<AccessToken>> {
    Ok(Answer::new(access_token::list(&cx, &query).await?))
}

pub async fn create(
    Caller(cx): Caller,
    Body(create): Body<AccessTokenCreate>,
) -> Reply<AccessToken> {
    Ok(Answer::new(access_token::create(&cx, create).await?))
}

pub async fn delete(Caller(cx): Caller, Params(OfToken { id }): Params<OfToken>) -> Reply<()> {
    access_token::delete(&cx, id).await?;
    Ok(Answer::empty())
}

pub async fn delete_all(Caller(cx): Caller) -> Reply<()> {
    access_token::delete_all(&cx).await?;
    Ok(Answer::empty())
}
