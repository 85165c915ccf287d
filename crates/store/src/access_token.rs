//! Personal access tokens; the tokens themselves are not stored.

use gantry_model::{Id, ListQuery, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};
use crate::list::{self, List};

/// A row of `access_tokens`; without `expires_at` it is valid until revoked.
#[derive(Clone, Debug)]
pub struct TokenRow {
    pub id: Id,
    pub notes: String,
    pub expires_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

fn token(row: &Row) -> Result<TokenRow> {
    Ok(TokenRow {
        id: row.id("id")?,
        notes: row.text("notes")?,
        expires_at: row.time_or_null("expires_at")?,
        created_at: row.time("created_at")?,
    })
}

const LIST: List = List {
    columns: "t.id, t.notes, t.expires_at, t.created_at",
    from: "access_tokens t",
    scope: "t.user_id = $1",
    orders: &[("created_at", "t.created_at")],
};

/// `query` pages; it does not search or filter.
pub async fn list(tx: &mut Tx, user_id: &str, query: &ListQuery) -> Result<(Vec<TokenRow>, i64)> {
    let query =
        ListQuery { search: String::new(), labels: Vec::new(), active: None, ..query.clone() };
    let (rows, count) = list::page(tx, &LIST, vals![user_id], &query).await?;
    Ok((rows.iter().map(token).collect::<Result<_>>()?, count))
}

pub async fn count(tx: &mut Tx, user_id: &str) -> Result<i64> {
    let row = tx
        .row("SELECT COUNT(*) AS tokens FROM access_tokens WHERE user_id = $1", vals![user_id])
        .await?;
    row.map_or(Ok(0), |row| row.int("tokens"))
}

pub async fn insert(tx: &mut Tx, user_id: &str, token: &TokenRow) -> Result<()> {
    tx.run(
        "INSERT INTO access_tokens (id, user_id, notes, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5)",
        vals![token.id, user_id, &token.notes, token.expires_at, token.created_at],
    )
    .await?;
    Ok(())
}

/// Id and e-mail of the user whose token this is, expired or not.
pub async fn user(tx: &mut Tx, id: Id) -> Result<Option<(String, String)>> {
    let row = tx
        .row(
            "SELECT u.id AS user_id, u.email AS email FROM access_tokens t
             JOIN users u ON u.id = t.user_id WHERE t.id = $1",
            vals![id],
        )
        .await?;
    row.map(|row| Ok((row.text("user_id")?, row.text("email")?))).transpose()
}

pub async fn find(tx: &mut Tx, user_id: &str, id: Id) -> Result<Option<TokenRow>> {
    let row = tx
        .row("SELECT * FROM access_tokens WHERE user_id = $1 AND id = $2", vals![user_id, id])
        .await?;
    row.as_ref().map(token).transpose()
}

/// All tokens of a user, oldest first.
pub async fn all(tx: &mut Tx, user_id: &str) -> Result<Vec<TokenRow>> {
    let rows = tx
        .all(
            "SELECT * FROM access_tokens WHERE user_id = $1 ORDER BY created_at, id",
            vals![user_id],
        )
        .await?;
    rows.iter().map(token).collect()
}

pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM access_tokens WHERE id = $1", vals![id]).await?;
    Ok(())
}
