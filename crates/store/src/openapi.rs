//! What was imported from OpenAPI documents: which application from which title, which API from
//! which operation, and what the document said the last time.

use gantry_model::{Id, Result};

use crate::Tx;
use crate::db::vals;

/// An application that came from a document.
pub struct ImportRow {
    pub application: Id,
    pub document_sealed: String,
}

/// An API that came from a document.
pub struct OperationRow {
    pub api: Id,
    /// Method and path of the document, such as `GET /orders/{id}`.
    pub operation: String,
    pub document_sealed: String,
}

/// The application of a cluster that came from a document of this title.
pub async fn find(tx: &mut Tx, cluster: Id, title: &str) -> Result<Option<ImportRow>> {
    let row = tx
        .row(
            "SELECT app_id, document_sealed FROM openapi_imports
             WHERE cluster_id = $1 AND title = $2",
            vals![cluster, title],
        )
        .await?;
    row.map(|row| {
        let document_sealed = row.text("document_sealed")?;
        Ok(ImportRow { application: row.id("app_id")?, document_sealed })
    })
    .transpose()
}

/// The APIs of an application that came from its document, by id.
pub async fn operations(tx: &mut Tx, application: Id) -> Result<Vec<OperationRow>> {
    let rows = tx
        .all(
            "SELECT api_id, operation, document_sealed FROM openapi_operations
             WHERE app_id = $1 ORDER BY api_id",
            vals![application],
        )
        .await?;
    let operation = |row: &crate::db::Row| {
        Ok(OperationRow {
            api: row.id("api_id")?,
            operation: row.text("operation")?,
            document_sealed: row.text("document_sealed")?,
        })
    };
    rows.iter().map(operation).collect()
}

/// Notes what the document said about an application.
pub async fn put_import(tx: &mut Tx, cluster: Id, title: &str, row: &ImportRow) -> Result<()> {
    tx.run(
        "INSERT INTO openapi_imports (app_id, cluster_id, title, document_sealed)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (app_id) DO UPDATE SET document_sealed = excluded.document_sealed",
        vals![row.application, cluster, title, &row.document_sealed],
    )
    .await?;
    Ok(())
}

/// Notes what the document said about an API.
pub async fn put_operation(tx: &mut Tx, application: Id, row: &OperationRow) -> Result<()> {
    tx.run(
        "INSERT INTO openapi_operations (api_id, app_id, operation, document_sealed)
         VALUES ($1, $2, $3, $4)
         ON CONFLICT (api_id) DO UPDATE SET document_sealed = excluded.document_sealed",
        vals![row.api, application, &row.operation, &row.document_sealed],
    )
    .await?;
    Ok(())
}
