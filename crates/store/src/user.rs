//! Accounts: passwords as hashes, or the name that an identity provider has for a person.

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
    /// The identity provider's own name of the person; `None` for local accounts.
    pub subject: Option<String>,
    /// Empty for accounts that are not local.
    pub password_hash: String,
    /// When the address was proved to be the user's.
    pub verified_at: Option<Timestamp>,
    /// JSON; `None` before the tour has begun.
    pub product_tour: Option<String>,
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
        subject: row.text_or_null("subject")?,
        password_hash: row.text("password_hash")?,
        verified_at: row.time_or_null("verified_at")?,
        product_tour: row.text_or_null("product_tour")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub async fn find(tx: &mut Tx, id: &str) -> Result<Option<UserRow>> {
    let row = tx.row("SELECT * FROM users WHERE id = $1", vals![id]).await?;
    row.as_ref().map(user).transpose()
}

/// The same for a write that others must not come between.
pub async fn lock(tx: &mut Tx, id: &str) -> Result<Option<UserRow>> {
    tx.run("UPDATE users SET updated_at = updated_at WHERE id = $1", vals![id]).await?;
    find(tx, id).await
}

pub async fn find_by_email(tx: &mut Tx, email: &str) -> Result<Option<UserRow>> {
    let row = tx.row("SELECT * FROM users WHERE email = $1", vals![email]).await?;
    row.as_ref().map(user).transpose()
}

/// The account of a person that an identity provider knows as `subject`.
pub async fn find_by_subject(
    tx: &mut Tx,
    connection: &str,
    subject: &str,
) -> Result<Option<UserRow>> {
    let row = tx
        .row(
            "SELECT * FROM users WHERE connection = $1 AND subject = $2",
            vals![connection, subject],
        )
        .await?;
    row.as_ref().map(user).transpose()
}

/// Whether anybody can sign in at all.
pub async fn exists(tx: &mut Tx) -> Result<bool> {
    Ok(tx.row("SELECT id FROM users LIMIT 1", vals![]).await?.is_some())
}

pub async fn insert(tx: &mut Tx, user: &UserRow) -> Result<()> {
    tx.run(
        "INSERT INTO users (id, email, first_name, last_name, avatar_url, connection, subject,
             password_hash, verified_at, product_tour, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        vals![
            &user.id,
            &user.email,
            &user.first_name,
            &user.last_name,
            &user.avatar_url,
            &user.connection,
            user.subject.as_deref(),
            &user.password_hash,
            user.verified_at,
            user.product_tour.as_deref(),
            user.created_at,
            user.updated_at,
        ],
    )
    .await?;
    Ok(())
}

/// Writes what can change of an account: its names, its password, its proof, its tour.
pub async fn update(tx: &mut Tx, user: &UserRow) -> Result<()> {
    tx.run(
        "UPDATE users SET first_name = $2, last_name = $3, password_hash = $4, verified_at = $5,
             product_tour = $6, updated_at = $7
         WHERE id = $1",
        vals![
            &user.id,
            &user.first_name,
            &user.last_name,
            &user.password_hash,
            user.verified_at,
            user.product_tour.as_deref(),
            user.updated_at,
        ],
    )
    .await?;
    Ok(())
}

/// Deletes an account with its sessions, access tokens and memberships.
pub async fn delete(tx: &mut Tx, id: &str) -> Result<()> {
    tx.run("DELETE FROM users WHERE id = $1", vals![id]).await?;
    Ok(())
}

/// Organizations the user is a member of, oldest first.
pub async fn organizations(tx: &mut Tx, id: &str) -> Result<Vec<Id>> {
    let rows = tx
        .all("SELECT org_id FROM members WHERE user_id = $1 ORDER BY created_at, org_id", vals![id])
        .await?;
    rows.iter().map(|row| row.id("org_id")).collect()
}

/// Names of the organizations that the user owns, oldest first.
pub async fn owned(tx: &mut Tx, id: &str) -> Result<Vec<String>> {
    let rows =
        tx.all("SELECT name FROM organizations WHERE owner_id = $1 ORDER BY id", vals![id]).await?;
    rows.iter().map(|row| row.text("name")).collect()
}
