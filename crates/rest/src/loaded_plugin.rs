//! Plugins that may be used in a cluster.

use gantry_app::{loaded_plugin, plugin_reference};
use gantry_model::config::{LoadedPlugin, PluginLoad, PluginMetadataUpdate, PluginReference};
use gantry_model::{Id, Page};
use serde::Deserialize;

use crate::answer::{Answer, Reply};
use crate::extract::{Body, Caller, List, OfCluster, Params};

#[derive(Deserialize)]
pub struct OfLoadedPlugin {
    cluster_id: Id,
    plugin_management_id: String,
}

pub async fn list(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    List(query): List,
) -> Reply<Page<LoadedPlugin>> {
    Ok(Answer::new(loaded_plugin::list(&cx, cluster_id, &query).await?))
}

pub async fn load(
    Caller(cx): Caller,
    Params(OfCluster { cluster_id }): Params<OfCluster>,
    Body(sent): Body<PluginLoad>,
) -> Reply<()> {
    Ok(Answer::done(loaded_plugin::load(&cx, cluster_id, sent).await?))
}

pub async fn update(
    Caller(cx): Caller,
    Params(of): Params<OfLoadedPlugin>,
    Body(sent): Body<PluginMetadataUpdate>,
) -> Reply<()> {
    let OfLoadedPlugin { cluster_id, plugin_management_id } = of;
    Ok(Answer::done(loaded_plugin::update(&cx, cluster_id, plugin_management_id, sent).await?))
}

pub async fn unload(Caller(cx): Caller, Params(of): Params<OfLoadedPlugin>) -> Reply<()> {
    let OfLoadedPlugin { cluster_id, plugin_management_id } = of;
    Ok(Answer::done(loaded_plugin::unload(&cx, cluster_id, plugin_management_id).await?))
}

pub async fn references(
    Caller(cx): Caller,
    Params(of): Params<OfLoadedPlugin>,
) -> Reply<PluginReference> {
    let OfLoadedPlugin { cluster_id, plugin_management_id } = of;
    Ok(Answer::new(plugin_reference::get(&cx, cluster_id, &plugin_management_id).await?))
}
