//! How gateways prove who they are: certificates by serial number, tokens by name.

use gantry_model::{Id, Result, Timestamp};

use crate::Tx;
use crate::db::{Row, vals};

/// A row of `gateway_certificates`.
#[derive(Clone, Debug)]
pub struct GatewayCertificateRow {
    /// Lower-case hex without leading zeros.
    pub serial: String,
    pub cluster_id: Id,
    pub not_after: Timestamp,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

fn certificate(row: &Row) -> Result<GatewayCertificateRow> {
    Ok(GatewayCertificateRow {
        serial: row.text("serial")?,
        cluster_id: row.id("cluster_id")?,
        not_after: row.time("not_after")?,
        created_at: row.time("created_at")?,
        revoked_at: row.time_or_null("revoked_at")?,
    })
}

pub async fn find_certificate(tx: &mut Tx, serial: &str) -> Result<Option<GatewayCertificateRow>> {
    let row = tx.row("SELECT * FROM gateway_certificates WHERE serial = $1", vals![serial]).await?;
    row.as_ref().map(certificate).transpose()
}

pub async fn insert_certificate(tx: &mut Tx, row: &GatewayCertificateRow) -> Result<()> {
    tx.run(
        "INSERT INTO gateway_certificates (serial, cluster_id, not_after, created_at, revoked_at)
         VALUES ($1, $2, $3, $4, $5)",
        vals![&row.serial, row.cluster_id, row.not_after, row.created_at, row.revoked_at],
    )
    .await?;
    Ok(())
}

/// Certificates of a cluster that its gateways showed with their last heartbeats and, while none has
/// shown any, the newest that was made; no revoked ones. The first to end comes first.
pub async fn certificates_in_use(tx: &mut Tx, cluster: Id) -> Result<Vec<GatewayCertificateRow>> {
    let rows = tx
        .all(
            "SELECT * FROM gateway_certificates g
             WHERE g.cluster_id = $1 AND g.revoked_at IS NULL AND (
                 EXISTS (SELECT 1 FROM instances i
                         WHERE i.cluster_id = $1 AND i.certificate = g.serial)
                 OR (NOT EXISTS (SELECT 1 FROM instances i
                                 WHERE i.cluster_id = $1 AND i.certificate IS NOT NULL)
                     AND NOT EXISTS (SELECT 1 FROM gateway_certificates n
                                     WHERE n.cluster_id = $1 AND n.revoked_at IS NULL
                                         AND n.created_at > g.created_at)))
             ORDER BY g.not_after, g.serial",
            vals![cluster],
        )
        .await?;
    rows.iter().map(certificate).collect()
}

/// Whether the cluster had the certificate; a second call keeps the first time.
pub async fn revoke_certificate(
    tx: &mut Tx,
    cluster: Id,
    serial: &str,
    now: Timestamp,
) -> Result<bool> {
    let changed = tx
        .run(
            "UPDATE gateway_certificates SET revoked_at = COALESCE(revoked_at, $3)
             WHERE cluster_id = $1 AND serial = $2",
            vals![cluster, serial, now],
        )
        .await?;
    Ok(changed > 0)
}

/// Cluster and secret's hash of a gateway user.
pub async fn find_token(tx: &mut Tx, name: &str) -> Result<Option<(Id, String)>> {
    let row = tx
        .row("SELECT cluster_id, secret_hash FROM gateway_tokens WHERE name = $1", vals![name])
        .await?;
    row.map(|row| Ok((row.id("cluster_id")?, row.text("secret_hash")?))).transpose()
}

pub async fn insert_token(
    tx: &mut Tx,
    name: &str,
    cluster: Id,
    secret_hash: &str,
    now: Timestamp,
) -> Result<()> {
    tx.run(
        "INSERT INTO gateway_tokens (name, cluster_id, secret_hash, created_at)
         VALUES ($1, $2, $3, $4)",
        vals![name, cluster, secret_hash, now],
    )
    .await?;
    Ok(())
}
