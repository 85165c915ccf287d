//! Personal access tokens of the user who asks.

use gantry_model::access_token::{AccessToken, AccessTokenCreate, TOKENS_PER_USER_MAX};
use gantry_model::{Error, ErrorCode, Id, ListQuery, Page, Result, Timestamp};
use gantry_store::access_token::{self, TokenRow};
use gantry_store::user;
use serde_json::{Value, json};

use crate::Cx;
use crate::act::act;
use crate::audit::Ledger;
use crate::token::{Claims, Use};

/// Kind of access tokens in the audit.
const KIND: &str = "access_token";

/// 9999-12-30T00:00:00Z, the time shown for tokens that never end.
const NEVER_S: i64 = 253_402_128_000;

pub async fn list(cx: &Cx, query: &ListQuery) -> Result<Page<AccessToken>> {
    let mut tx = cx.app.db.read().await?;
    let (rows, count) = access_token::list(&mut tx, cx.user_id()?, query).await?;
    Ok(Page { list: rows.into_iter().map(|row| view(row, None)).collect(), count })
}

/// Makes a token; its text is in this answer and never again.
pub async fn create(cx: &Cx, create: AccessTokenCreate) -> Result<AccessToken> {
    create_for(cx, cx.user_id()?, create).await
}

/// Makes a token for a user by id, for the command line and the first start.
pub async fn create_for(cx: &Cx, user_id: &str, create: AccessTokenCreate) -> Result<AccessToken> {
    let now = cx.app.now();
    let AccessTokenCreate { expire, notes } = create;
    if expire != 0 && expire <= now.seconds() {
        return Err(Error::invalid_field(
            "expire",
            "must be in the future, in Unix seconds, or 0 for a token without end",
            now.plus_seconds(30 * 24 * 3600).seconds().to_string(),
        ));
    }
    let expires_at = (expire != 0).then(|| Timestamp::from_seconds(expire).min(never()));
    let row = TokenRow { id: cx.app.new_id(), notes, expires_at, created_at: now };
    let claims = Claims {
        sub: user_id.to_owned(),
        jti: row.id,
        iat: now.seconds(),
        exp: expires_at.map(Timestamp::seconds),
        purpose: Use::AccessToken,
    };
    let (id, kept) = (user_id.to_owned(), row.clone());
    act(cx, Ledger::User(id.clone()), move |act| {
        Box::pin(async move {
            // Counted under the user's lock, so that two at once cannot both be the last.
            user::lock(act.tx, &id).await?.ok_or_else(|| Error::not_found("user"))?;
            if access_token::count(act.tx, &id).await? >= TOKENS_PER_USER_MAX {
                let message =
                    format!("a user has at most {TOKENS_PER_USER_MAX} access tokens: delete one");
                return Err(Error::new(ErrorCode::QuotaExceeded, message));
            }
            access_token::insert(act.tx, &id, &kept).await?;
            act.audit(KIND, kept.id, None, Some(record(&kept)));
            Ok(())
        })
    })
    .await?;
    let token = if cx.dry_run { None } else { Some(cx.app.signer.sign(&claims)?) };
    Ok(view(row, token))
}

pub async fn delete(cx: &Cx, id: Id) -> Result<()> {
    let user_id = cx.user_id()?.to_owned();
    act(cx, Ledger::User(user_id.clone()), move |act| {
        Box::pin(async move {
            let found = access_token::find(act.tx, &user_id, id).await?;
            let row = found.ok_or_else(|| Error::not_found("access token"))?;
            access_token::delete(act.tx, id).await?;
            act.audit(KIND, id, Some(record(&row)), None);
            Ok(())
        })
    })
    .await
}

pub async fn delete_all(cx: &Cx) -> Result<()> {
    let user_id = cx.user_id()?.to_owned();
    act(cx, Ledger::User(user_id.clone()), move |act| {
        Box::pin(async move {
            for row in access_token::all(act.tx, &user_id).await? {
                access_token::delete(act.tx, row.id).await?;
                act.audit(KIND, row.id, Some(record(&row)), None);
            }
            Ok(())
        })
    })
    .await
}

/// What the audit keeps of a token.
fn record(row: &TokenRow) -> Value {
    json!({ "notes": row.notes, "expire": row.expires_at })
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
