//! Labels in use.

use gantry_model::{Id, Result};
use gantry_store::resource::{self, Kind};

use crate::Cx;

/// Distinct labels of one kind of resource in a cluster, sorted.
pub async fn list(cx: &Cx, cluster: Id, kind: Kind) -> Result<Vec<String>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    resource::labels(&mut tx, cluster, kind).await
}
