//! Rules of a log collection, and of what binds it.

use gantry_model::Violation;
use gantry_model::config::LogCollectionSpec;
use serde_json::{Map, Value};

use super::{Report, schema};
use crate::Surroundings;
use crate::plugins::{collection_id, loggers};

/// Broken rules of a log collection.
#[must_use]
pub fn check_log_collection(spec: &LogCollectionSpec) -> Vec<Violation> {
    let mut report = Report::default();
    let config = Value::Object(spec.spec.clone());
    schema::check(&mut report, "spec", spec.kind.plugin(), &config);
    let format = spec.spec.get("log_format").and_then(Value::as_object);
    for (name, value) in format.into_iter().flatten() {
        if !value.is_string() {
            let rule = "must be a text, with or without variables: formats have one level";
            report.broken(format!("spec.log_format.{name}"), rule, r#""$remote_addr""#);
        }
    }
    report.0
}

/// Checks a list of log collections, whose path is `field`. `beside` stands for logger plugins in
/// the same group.
pub fn check_binding(
    report: &mut Report,
    field: &str,
    list: &Value,
    beside: &Map<String, Value>,
    around: &Surroundings,
) {
    let Some(list) = list.as_array() else {
        let rule = "must be a list of ids of log collections";
        return report.broken(field, rule, r#"["453750199534224179"]"#);
    };
    let mut types: Vec<&str> = loggers(beside).map(|(name, _)| name.as_str()).collect();
    for (index, id) in list.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let known = collection_id(id).and_then(|id| around.log_collections.get(&id));
        let Some(collection) = known else {
            report.broken(field, "must be the id of a log collection of this cluster", "");
            continue;
        };
        let plugin = collection.kind.plugin();
        if types.contains(&plugin) {
            let rule = format!("is one more `{plugin}`: an object can have one of each type");
            report.broken(field, rule, "");
        }
        types.push(plugin);
    }
}
