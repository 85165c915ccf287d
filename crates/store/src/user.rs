//! Accounts and their password hashes.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};

/// A row of `users`; `email` is in lower case.
#[derive(Clone, Debug)]
pub struct UserRow {
    pub id: String,
    pub email: String,
    pub first_name: String,
    pub last_name: String,
    pub avatar_url: String,
    pub connection: String,
    pub password_hash: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

fn user(row: &Row) -> Result<UserRow> {
    Ok(UserRow {
        id: row.text("id")?,
        email: row.text("email")?,
        first_name: row.text("first_name")?,
        last_name: row.text("last_name")?,
        avatar_url: row.text("avatar_url")?,
        connection: row.text("connection")?,
        password_hash: row.text("password_hash")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<UserRow>> {
    let row = tx.row("SELECT * FROM users WHERE id = $1", vals![id]).await?;
    row.as_ref().map(user).transpose()
}

pub async fn find_by_email(tx: &mut Tx, email: &str) -> Result<Option<UserRow>> {
    let row = tx.row("SELECT * FROM users WHERE email = $1", vals![email]).await?;
    row.as_ref().map(user).transpose()
}

/// Whether anybody can sign in at all.
pub async fn exists(tx: &mut Tx) -> Result<bool> {
    Ok(tx.row("SELECT id FROM users LIMIT 1", vals![]).await?.is_some())
}

pub async fn insert(tx: &mut Tx, user: &UserRow) -> Result<()> {
    tx.run(
        "INSERT INTO users (id, email, first_name, last_name, avatar_url, connection,
             password_hash, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        vals![
            &user.id,
            &user.email,
            &user.first_name,
            &user.last_name,
            &user.avatar_url,
            &user.connection,
            &user.password_hash,
            user.created_at,
            user.updated_at,
        ],
    )
    .await?;
    Ok(())
}

pub async fn set_password(tx: &mut Tx, id: &str, hash: &str, now: Timestamp) -> Result<()> {
    tx.run(
        "UPDATE users SET password_hash = $2, updated_at = $3 WHERE id = $1",
        vals![id, hash, now],
    )
    .await?;
    Ok(())
}

/// Organizations the user is a member of, oldest first.
pub async fn organizations(tx: &mut Tx, id: &str) -> Result<Vec<Id>> {
    let rows = tx
        .all("SELECT org_id FROM members WHERE user_id = $1 ORDER BY created_at, org_id", vals![id])
        .await?;
    rows.iter().map(|row| row.id("org_id")).collect()
}
