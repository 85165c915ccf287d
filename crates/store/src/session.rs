//! Sessions of people who signed in.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::vals;

/// A row of `sessions`.
#[derive(Clone, Debug)]
pub struct SessionRow {
    pub id: Id,
    pub user_id: String,
    /// Id of the first session after the sign-in; those that took its place keep it.
    pub sign_in_id: Id,
    pub signed_in_at: Timestamp,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
}

pub async fn insert(tx: &mut Tx, session: &SessionRow) -> Result<()> {
    tx.run(
        "INSERT INTO sessions (id, user_id, sign_in_id, signed_in_at, expires_at, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        vals![
            session.id,
            &session.user_id,
            session.sign_in_id,
            session.signed_in_at,
            session.expires_at,
            session.created_at,
        ],
    )
    .await?;
    Ok(())
}

/// A session that has not ended.
pub async fn find(tx: &mut Tx, id: Id, now: Timestamp) -> Result<Option<SessionRow>> {
    let row =
        tx.row("SELECT * FROM sessions WHERE id = $1 AND expires_at > $2", vals![id, now]).await?;
    let session = row.map(|row| {
        Ok(SessionRow {
            id: row.id("id")?,
            user_id: row.text("user_id")?,
            sign_in_id: row.id("sign_in_id")?,
            signed_in_at: row.time("signed_in_at")?,
            expires_at: row.time("expires_at")?,
            created_at: row.time("created_at")?,
        })
    });
    session.transpose()
}

/// Id and e-mail of the user whose session this is.
pub async fn user(tx: &mut Tx, id: Id, now: Timestamp) -> Result<Option<(String, String)>> {
    let row = tx
        .row(
            "SELECT u.id AS user_id, u.email AS email FROM sessions s
             JOIN users u ON u.id = s.user_id WHERE s.id = $1 AND s.expires_at > $2",
            vals![id, now],
        )
        .await?;
    row.map(|row| Ok((row.text("user_id")?, row.text("email")?))).transpose()
}

/// Lets another session take the place of this one, which ends at `end`. Whether nobody else did so
/// before.
pub async fn retire(tx: &mut Tx, id: Id, end: Timestamp, now: Timestamp) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE sessions SET renewed_at = $2, expires_at = $3
             WHERE id = $1 AND renewed_at IS NULL",
            vals![id, now, end],
        )
        .await?;
    Ok(changed == 1)
}

/// Ends the sessions that follow from one sign-in.
pub async fn delete_sign_in(tx: &mut Tx, sign_in_id: Id) -> Result<()> {
    tx.run("DELETE FROM sessions WHERE sign_in_id = $1", vals![sign_in_id]).await?;
    Ok(())
}

/// Ends all sessions of a user but the one that is `kept`.
pub async fn delete_others(tx: &mut Tx, user_id: &str, kept: Option<Id>) -> Result<()> {
    let Some(kept) = kept else { return delete_all(tx, user_id).await };
    tx.run("DELETE FROM sessions WHERE user_id = $1 AND id <> $2", vals![user_id, kept]).await?;
    Ok(())
}

/// Ends all sessions of a user.
pub async fn delete_all(tx: &mut Tx, user_id: &str) -> Result<()> {
    tx.run("DELETE FROM sessions WHERE user_id = $1", vals![user_id]).await?;
    Ok(())
}

pub async fn delete_expired(tx: &mut Tx, now: Timestamp) -> Result<()> {
    tx.run("DELETE FROM sessions WHERE expires_at <= $1", vals![now]).await?;
    Ok(())
}
