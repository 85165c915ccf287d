//! Personal access tokens of the user who asks.

use gantry_model::access_token::{AccessToken, AccessTokenCreate, TOKENS_PER_USER_MAX};
use gantry_model::{Error, ErrorCode, Id, ListQuery, Page, Result, Timestamp};
use gantry_store::access_token::{self, TokenRow};

use crate::token::{Claims, Use};
use crate::{App, Cx};

/// 9999-12-30T00:00:00Z, the time shown for tokens that never end.
const NEVER_S: i64 = 253_402_128_000;

pub async fn list(cx: &Cx, query: &ListQuery) -> Result<Page<AccessToken>> {
    let mut tx = cx.app.db.read().await?;
    let (rows, count) = access_token::list(&mut tx, cx.user_id()?, query).await?;
    Ok(Page { list: rows.into_iter().map(|row| view(row, None)).collect(), count })
}

/// Makes a token; its text is in this answer and never again.
pub async fn create(cx: &Cx, create: AccessTokenCreate) -> Result<AccessToken> {
    create_for(&cx.app, cx.user_id()?, create).await
}

/// Makes a token for a user by id, for the command line and the first start.
pub async fn create_for(
    app: &App,
    user_id: &str,
    create: AccessTokenCreate,
) -> Result<AccessToken> {
    let now = app.now();
    let AccessTokenCreate { expire, notes } = create;
    if expire != 0 && expire <= now.seconds() {
        return Err(Error::invalid_field(
            "expire",
            "must be in the future, in Unix seconds, or 0 for a token without end",
            now.plus_seconds(30 * 24 * 3600).seconds().to_string(),
        ));
    }
    let expires_at = (expire != 0).then(|| Timestamp::from_seconds(expire).min(never()));
    let row = TokenRow { id: app.new_id(), notes, expires_at, created_at: now };
    let claims = Claims {
        sub: user_id.to_owned(),
        jti: row.id,
        iat: now.seconds(),
        exp: expires_at.map(Timestamp::seconds),
        purpose: Use::AccessToken,
    };
    let (user_id, kept) = (user_id.to_owned(), row.clone());
    app.db
        .write(move |tx| {
            Box::pin(async move {
                if access_token::count(tx, &user_id).await? >= TOKENS_PER_USER_MAX {
                    return Err(Error::new(
                        ErrorCode::QuotaExceeded,
                        format!(
                            "a user has at most {TOKENS_PER_USER_MAX} access tokens: delete one"
                        ),
                    ));
                }
                access_token::insert(tx, &user_id, &kept).await
            })
        })
        .await?;
    Ok(view(row, Some(app.signer.sign(&claims)?)))
}

pub async fn delete(cx: &Cx, id: Id) -> Result<()> {
    let user_id = cx.user_id()?.to_owned();
    let gone = cx
        .app
        .db
        .write(move |tx| Box::pin(async move { access_token::delete(tx, &user_id, id).await }))
        .await?;
    if gone { Ok(()) } else { Err(Error::not_found("access token")) }
}

pub async fn delete_all(cx: &Cx) -> Result<()> {
    let user_id = cx.user_id()?.to_owned();
    cx.app
        .db
        .write(move |tx| Box::pin(async move { access_token::delete_all(tx, &user_id).await }))
        .await
}

fn view(row: TokenRow, token: Option<String>) -> AccessToken {
    let TokenRow { id, notes, expires_at, created_at } = row;
    AccessToken {
        id: id.to_string(),
        notes,
        expire: expires_at.unwrap_or_else(never),
        created_at,
        token,
    }
}

fn never() -> Timestamp {
    Timestamp::from_seconds(NEVER_S)
}
