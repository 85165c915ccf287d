//! Sessions of people who signed in.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::vals;

pub async fn insert(
    tx: &mut Tx,
    id: Id,
    user_id: &str,
    expires_at: Timestamp,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO sessions (id, user_id, expires_at, created_at) VALUES ($1, $2, $3, $4)",
        vals![id, user_id, expires_at, now],
    )
    .await?;
    Ok(())
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

pub async fn delete(tx: &mut Tx, id: Id) -> Result<()> {
    tx.run("DELETE FROM sessions WHERE id = $1", vals![id]).await?;
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
