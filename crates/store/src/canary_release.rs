//! Canary releases that are not over. Their version stands in `sort_text`, their state in
//! `sort_number`.

use gantry_model::config::CanaryState;
use gantry_model::{Id, Result};

use crate::Tx;
use crate::db::{Sql, placeholders, vals};
use crate::list;
use crate::resource::{Kind, RESOURCES, ResourceRow, resources};

/// A release that is paused or in progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenRelease {
    pub id: Id,
    pub application: Id,
    pub name: String,
    /// The upstream version it needs.
    pub version: String,
    pub in_progress: bool,
}

/// The state as the database knows it; indexes and the queries here rely on these numbers.
#[must_use]
pub fn state_number(state: CanaryState) -> i64 {
    match state {
        CanaryState::Paused => 0,
        CanaryState::InProgress => 1,
        CanaryState::Finished => 2,
    }
}

/// Releases of these applications that are paused or in progress, by application and id.
pub async fn open(tx: &mut Tx, applications: &[Id]) -> Result<Vec<OpenRelease>> {
    if applications.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT id, parent_id, COALESCE(name, '') AS name, sort_text, sort_number FROM resources
         WHERE kind = 'canary_release' AND sort_number < 2 AND parent_id IN ({})
         ORDER BY parent_id, id",
        placeholders(1, applications.len())
    );
    let rows = tx.all(Sql::assembled(sql), list::ids(applications)).await?;
    let release = |row: &crate::db::Row| {
        Ok(OpenRelease {
            id: row.id("id")?,
            application: row.id("parent_id")?,
            name: row.text("name")?,
            version: row.text("sort_text")?,
            in_progress: row.int("sort_number")? == state_number(CanaryState::InProgress),
        })
    };
    rows.iter().map(release).collect()
}

/// Releases of a whole cluster that are in progress: at most one for each application.
pub async fn in_progress(tx: &mut Tx, cluster: Id) -> Result<Vec<ResourceRow>> {
    let sql = format!(
        "SELECT * FROM {RESOURCES}
         WHERE t.kind = 'canary_release' AND t.sort_number = 1 AND t.cluster_id = $1
         ORDER BY t.parent_id"
    );
    let rows = tx.all(Sql::assembled(sql), vals![cluster]).await?;
    resources(Kind::CanaryRelease, &rows)
}
