//! Rules of plugin configurations, by the place they stand in.

use gantry_model::config::Plugins;
use serde_json::{Map, Value};

use super::Report;
use super::schema;
use crate::Surroundings;
use crate::plugins::{AUTHENTICATION_TYPES, Group};

/// Whose plugins they are.
#[derive(Clone, Copy, PartialEq)]
pub enum Place {
    Application,
    Api,
    Consumer,
    Cluster,
}

impl Place {
    /// Path of a plugin; the plugins of a cluster are a document of their own.
    fn field(self, plugin: &str) -> String {
        if self == Self::Cluster { plugin.to_owned() } else { format!("plugins.{plugin}") }
    }
}

const NO_LOG_COLLECTIONS: &str = "is not available yet, because this version has no log \
                                  collections; use a logger plugin such as `http-logger`";
const NO_LABELS: &str = "is not available yet; list the names of the consumers instead";

/// Checks all plugins of one object.
pub fn check(report: &mut Report, place: Place, plugins: &Plugins, around: &Surroundings) {
    let mut used: Vec<String> = plugins.keys().cloned().collect();
    for (name, config) in plugins {
        let field = place.field(name);
        if let Some(group) = Group::of(name, config) {
            check_group(report, place, &field, group, around, &mut used);
        } else if name == "log_collections" {
            report.broken(field, NO_LOG_COLLECTIONS, "");
        } else if may_stand(report, place, &field, name) {
            schema::check(report, &field, name, config);
        }
    }
}

/// Checks one of our own plugins and what it stands for.
fn check_group(
    report: &mut Report,
    place: Place,
    field: &str,
    group: Group<'_>,
    around: &Surroundings,
    used: &mut Vec<String>,
) {
    match group {
        Group::Authentication(fields) => check_authentication(report, field, fields),
        Group::Acl(fields) => check_acl(report, field, fields),
        Group::Logging(fields) => check_logging(report, field, fields),
    }
    for (name, config) in group.members(around) {
        let inner = if matches!(group, Group::Logging(_)) {
            format!("{field}.{name}")
        } else {
            field.to_owned()
        };
        if used.contains(&name) {
            report.broken(inner, format!("must not be used beside the plugin `{name}`"), "");
        } else if may_stand(report, place, &inner, &name) {
            let before = report.0.len();
            schema::check(report, &inner, &name, &config);
            for violation in report.0.iter_mut().skip(before) {
                violation.field = group.as_sent(&violation.field);
            }
            used.push(name);
        }
    }
}

fn check_authentication(report: &mut Report, field: &str, fields: &Map<String, Value>) {
    let kind = fields.get("type").and_then(Value::as_str).unwrap_or_default();
    if !AUTHENTICATION_TYPES.contains(&kind) {
        let rule = format!("must be one of `{}`", AUTHENTICATION_TYPES.join("`, `"));
        report.broken(format!("{field}.type"), rule, r#""key-auth""#);
    }
}

fn check_acl(report: &mut Report, field: &str, fields: &Map<String, Value>) {
    for labels in ["allowed_consumer_labels", "denied_consumer_labels"] {
        if fields.get(labels).and_then(Value::as_array).is_some_and(|list| !list.is_empty()) {
            report.broken(format!("{field}.{labels}"), NO_LABELS, "");
        }
    }
    let list = match fields.get("mode").and_then(Value::as_str) {
        Some("Allow") => "allowed_consumers",
        Some("Deny") => "denied_consumers",
        _ => {
            return report.broken(
                format!("{field}.mode"),
                "must be `Allow` or `Deny`",
                r#""Allow""#,
            );
        }
    };
    if !fields.contains_key(list) {
        let rule = "must list the names of at least one consumer";
        report.broken(format!("{field}.{list}"), rule, r#"["mobile_app"]"#);
    }
}

fn check_logging(report: &mut Report, field: &str, fields: &Map<String, Value>) {
    let collections = fields.get("log_collections");
    if collections.is_some_and(|list| list.as_array().is_none_or(|list| !list.is_empty())) {
        report.broken(format!("{field}.log_collections"), NO_LOG_COLLECTIONS, "");
    }
}

/// Whether a plugin may stand in this place at all.
fn may_stand(report: &mut Report, place: Place, field: &str, name: &str) -> bool {
    if place == Place::Consumer && schema::is_authentication(name) {
        let rule = "must not stand among the plugins of a consumer; \
                    what the consumer proves itself with belongs to `credentials`";
        report.broken(field, rule, "");
        return false;
    }
    if place != Place::Cluster && name == "traffic-split" {
        report.broken(field, "is kept for canary releases", "");
        return false;
    }
    true
}
