//! Sealed keys of the installation itself: the CA's, the one that signs tokens.

use gantry_model::Result;

use crate::Tx;
use crate::db::vals;

pub async fn find(tx: &mut Tx, name: &str) -> Result<Option<String>> {
    let row = tx.row("SELECT sealed FROM secrets WHERE name = $1", vals![name]).await?;
    row.map(|row| row.text("sealed")).transpose()
}

/// Keeps what is there already: of two servers that start together one wins.
pub async fn put_new(tx: &mut Tx, name: &str, sealed: &str) -> Result<()> {
    tx.run(
        "INSERT INTO secrets (name, sealed) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
        vals![name, sealed],
    )
    .await?;
    Ok(())
}
