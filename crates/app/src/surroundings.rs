//! Loads what the translation of resources has to know of others.

use gantry_model::config::Plugins;
use gantry_model::{Id, Result};
use gantry_store::Tx;
use gantry_translate::Surroundings;

use crate::App;

/// What resources with these `plugins` refer to in their cluster.
pub(crate) async fn of(
    _app: &App,
    _tx: &mut Tx,
    _cluster: Id,
    _plugins: &[&Plugins],
) -> Result<Surroundings> {
    Ok(Surroundings::default())
}
