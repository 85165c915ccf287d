//! What is known about plugins.

use gantry_model::{Error, Result};
use gantry_routing::plugin;
use serde_json::Value;

/// JSON Schema of a plugin's configuration.
pub fn schema(name: &str) -> Result<Value> {
    let found = plugin::get(name).ok_or_else(|| Error::not_found("plugin"))?;
    Ok(found.schema.clone())
}

/// JSON Schema of a plugin's metadata.
pub fn metadata_schema(name: &str) -> Result<Value> {
    let found = plugin::get(name).ok_or_else(|| Error::not_found("plugin"))?;
    found.metadata_schema.clone().ok_or_else(|| Error::not_found("metadata of this plugin"))
}
