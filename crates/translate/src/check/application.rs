//! Rules of an application.

use std::collections::HashSet;

use gantry_model::Violation;
use gantry_model::config::ApplicationSpec;

use super::plugins::Place;
use super::{Report, host, path, plugins, schema, some_id, upstream};
use crate::Surroundings;

/// Broken rules of an application. Whether a client certificate exists is not looked at.
#[must_use]
pub fn check_application(spec: &ApplicationSpec, around: &Surroundings) -> Vec<Violation> {
    let mut report = Report::default();
    for (index, name) in spec.hosts.iter().enumerate() {
        if !host::is_pattern(name) {
            let rule = "must be a host name without a port, with or without `*` in front";
            report.broken(format!("hosts[{index}]"), rule, r#""*.example.com""#);
        }
    }
    if spec.hosts.is_empty() {
        report.broken("hosts", "must name at least one host", r#"["api.example.com"]"#);
    }
    path::check_prefix(&mut report, &spec.path_prefix);
    check_versions(&mut report, spec);
    for (index, entry) in spec.upstreams.iter().enumerate() {
        upstream::check(&mut report, &format!("upstreams[{index}]"), entry, around);
    }
    plugins::check(&mut report, Place::Application, &spec.plugins, around);
    let keys = crate::application::documents(some_id(), spec, around);
    schema::check_documents(&mut report, "application", &keys);
    report.0
}

fn check_versions(report: &mut Report, spec: &ApplicationSpec) {
    let mut seen = HashSet::new();
    for (index, entry) in spec.upstreams.iter().enumerate() {
        let field = format!("upstreams[{index}].version");
        let length = entry.version.chars().count();
        if !(1..=64).contains(&length) {
            report.broken(field, "must be 1 to 64 characters long", r#""v2""#);
        } else if !seen.insert(entry.version.as_str()) {
            report.broken(field, "must not be used twice in one application", r#""v2""#);
        }
    }
    if !(1..=10).contains(&spec.upstreams.len()) {
        let example = r#"[{"version":"default","upstream":{"scheme":"http","targets":[{"host":"10.0.0.11","port":8080,"weight":1}]}}]"#;
        report.broken("upstreams", "must hold 1 to 10 versions", example);
    } else if spec.upstream(&spec.default_upstream_version).is_none() {
        let example = spec.upstreams.first().map_or("default", |entry| &entry.version);
        report.broken(
            "default_upstream_version",
            "must be the `version` of one of `upstreams`",
            serde_json::Value::from(example).to_string(),
        );
    }
}
