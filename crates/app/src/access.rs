//! Who may see what, for callers that decide it before they look at anything else.

use gantry_model::{Id, Result};

use crate::Cx;

/// Refuses clusters the actor may not see as if they did not exist.
pub async fn cluster(cx: &Cx, id: Id) -> Result<()> {
    cx.see_cluster(&mut cx.app.db.read().await?, id).await
}

/// The same for organizations.
pub async fn organization(cx: &Cx, id: Id) -> Result<()> {
    cx.see_organization(&mut cx.app.db.read().await?, id).await
}
