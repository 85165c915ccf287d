//! Rules of the metadata of a plugin.

use gantry_model::Violation;
use gantry_routing::plugin::{self, Role};
use serde_json::{Map, Value};

use super::{Report, schema};

/// Broken rules of a plugin's metadata, which the caller sent as `metadata`.
#[must_use]
pub fn check_plugin_metadata(name: &str, metadata: &Map<String, Value>) -> Vec<Violation> {
    let mut report = Report::default();
    let takes_some = plugin::get(name).is_some_and(|found| found.metadata_schema.is_some());
    if takes_some {
        let document = Value::Object(metadata.clone());
        schema::check_role(&mut report, "metadata", name, &document, Role::Metadata);
    } else if !metadata.is_empty() {
        let rule = format!("must be empty, because the plugin `{name}` has none");
        report.broken("metadata", rule, "{}");
    }
    report.0
}
