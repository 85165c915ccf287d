//! Rules of a canary release, which depend on its application's versions.

use gantry_model::Violation;
use gantry_model::config::{ApplicationSpec, CanaryReleaseSpec, CanaryType};
use serde_json::Value;

use super::{Report, expression, schema, some_id};
use crate::canary_release::{PLUGIN, traffic_split};

/// Broken rules of a canary release of the application `parent`.
#[must_use]
pub fn check_canary_release(parent: &ApplicationSpec, spec: &CanaryReleaseSpec) -> Vec<Violation> {
    let mut report = Report::default();
    if parent.upstream(&spec.canary_upstream_version).is_none() {
        let version = parent.upstreams.iter().map(|entry| entry.version.as_str());
        let other = version.clone().find(|version| *version != parent.default_upstream_version);
        let example = other.unwrap_or(&parent.default_upstream_version);
        let rule = "must be the `version` of one of the application's upstreams";
        report.broken("canary_upstream_version", rule, Value::from(example).to_string());
    }
    let percent = spec.percent.unwrap_or_default();
    if spec.kind == CanaryType::Percent && !(1..=100).contains(&percent) {
        report.broken("percent", "must be 1 to 100 for a release of type percent", "10");
    }
    if spec.kind == CanaryType::Rule && spec.expressions.is_empty() {
        let example = r#"[{"subject":"header","name":"x-beta","operator":"equal","value":"1"}]"#;
        report.broken("expressions", "must not be empty for a release of type rule", example);
    }
    expression::check(&mut report, "expressions", &spec.expressions);
    if report.0.is_empty() {
        schema::check(&mut report, "expressions", PLUGIN, &traffic_split(some_id(), spec));
    }
    report.0
}
