//! Rules of plugin configurations, by the place they stand in.

use gantry_model::config::Plugins;
use serde_json::{Map, Value};

use super::log_collection::check_binding;
use super::{Report, schema};
use crate::Surroundings;
use crate::plugins::{AUTHENTICATION_TYPES, AclMode, Group, LOG_COLLECTIONS};

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

/// Checks all plugins of one object.
pub fn check(report: &mut Report, place: Place, plugins: &Plugins, around: &Surroundings) {
    let mut used: Vec<String> = plugins.keys().cloned().collect();
    for (name, config) in plugins {
        let field = place.field(name);
        if let Some(group) = Group::of(name, config) {
            check_group(report, place, &field, group, around, &mut used);
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
        Group::Logging(fields) => {
            if let Some(list) = fields.get(LOG_COLLECTIONS) {
                let field = format!("{field}.{LOG_COLLECTIONS}");
                check_binding(report, &field, list, fields, around);
            }
        }
        Group::LogCollections(list) => {
            check_binding(report, field, list, &Map::new(), around);
        }
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
    let Some(mode) = AclMode::of(fields) else {
        let rule = "must be `Allow` or `Deny`";
        return report.broken(format!("{field}.mode"), rule, r#""Allow""#);
    };
    let labels = fields.get(mode.labels);
    let texts = |labels: &Value| {
        labels.as_array().is_some_and(|labels| labels.iter().all(Value::is_string))
    };
    if labels.is_some_and(|labels| !texts(labels)) {
        let rule = "must be a list of labels of consumers";
        report.broken(format!("{field}.{}", mode.labels), rule, r#"["partner"]"#);
    }
    let no_names =
        fields.get(mode.consumers).is_none_or(|names| names.as_array().is_some_and(Vec::is_empty));
    if no_names && mode.labels_in(fields).next().is_none() {
        let rule = format!("must name at least one consumer, or `{}` a label", mode.labels);
        report.broken(format!("{field}.{}", mode.consumers), rule, r#"["mobile_app"]"#);
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
