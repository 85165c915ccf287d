//! Links that prove an e-mail address; only keyed hashes of their tokens are stored.

use gantry_model::{Result, Timestamp};

use crate::Tx;
use crate::db::vals;

pub async fn insert(
    tx: &mut Tx,
    token_hash: &str,
    user_id: &str,
    expires_at: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO email_verifications (token_hash, user_id, expires_at) VALUES ($1, $2, $3)",
        vals![token_hash, user_id, expires_at],
    )
    .await?;
    Ok(())
}

/// Id of the user whose address a token proves, unless it has ended.
pub async fn user(tx: &mut Tx, token_hash: &str, now: Timestamp) -> Result<Option<String>> {
    let row = tx
        .row(
            "SELECT user_id FROM email_verifications WHERE token_hash = $1 AND expires_at > $2",
            vals![token_hash, now],
        )
        .await?;
    row.map(|row| row.text("user_id")).transpose()
}

/// Makes every link of a user useless.
pub async fn delete_all(tx: &mut Tx, user_id: &str) -> Result<()> {
    tx.run("DELETE FROM email_verifications WHERE user_id = $1", vals![user_id]).await?;
    Ok(())
}

pub async fn delete_expired(tx: &mut Tx, now: Timestamp) -> Result<()> {
    tx.run("DELETE FROM email_verifications WHERE expires_at <= $1", vals![now]).await?;
    Ok(())
}
