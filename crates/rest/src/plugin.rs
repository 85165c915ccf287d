//! Plugins and variables that gateways know.

use gantry_app::plugin;
use gantry_model::Page;
use gantry_routing::vars;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::answer::{Answer, Reply};
use crate::extract::{Caller, OfOrganization, Params};

#[derive(Deserialize)]
pub struct OfPlugin {
    plugin_name: String,
}

/// Contract, schema `AvailablePlugin`.
#[derive(Serialize)]
pub struct Available {
    name: &'static str,
    #[serde(rename = "type")]
    category: &'static str,
    description: &'static str,
    has_metadata: bool,
}

pub async fn schema(_: Caller, Params(OfPlugin { plugin_name }): Params<OfPlugin>) -> Reply<Value> {
    Ok(Answer::new(plugin::schema(&plugin_name)?))
}

pub async fn metadata_schema(
    _: Caller,
    Params(OfPlugin { plugin_name }): Params<OfPlugin>,
) -> Reply<Value> {
    Ok(Answer::new(plugin::metadata_schema(&plugin_name)?))
}

/// What the organization's plan includes.
pub async fn available(
    Caller(cx): Caller,
    Params(OfOrganization { id }): Params<OfOrganization>,
) -> Reply<Page<Available>> {
    let list = plugin::available(&cx, id).await?.into_iter().map(|plugin| Available {
        name: &plugin.name,
        category: &plugin.category,
        description: &plugin.purpose,
        has_metadata: plugin.metadata_schema.is_some(),
    });
    Ok(Answer::new(whole(list.collect())))
}

/// Contract, schema `ApisixVariable`.
#[derive(Serialize)]
pub struct Variable {
    name: &'static str,
    description: &'static str,
}

pub async fn variables(_: Caller) -> Reply<Page<Variable>> {
    let list = vars::all().into_iter();
    let list =
        list.map(|variable| Variable { name: &variable.name, description: &variable.description });
    Ok(Answer::new(whole(list.collect())))
}

/// A list that has no pages.
fn whole<T>(list: Vec<T>) -> Page<T> {
    let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
    Page { list, count }
}
