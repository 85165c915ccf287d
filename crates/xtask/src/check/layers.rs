//! Which crate may use which: the arrows of ARCHITECTURE.md, checked against the manifests.

use serde_json::Value;

use super::{list, report};
use crate::shell::Outcome;

/// A crate and the crates of ours it may depend on. Tests may use `testkit` besides.
const ALLOWED: &[(&str, &[&str])] = &[
    ("gantry-model", &[]),
    ("gantry-gotemplate", &[]),
    ("gantry-routing", &[]),
    ("gantry-etcd-proto", &[]),
    ("gantry-store", &["gantry-model"]),
    ("gantry-metrics", &["gantry-model"]),
    ("gantry-translate", &["gantry-model", "gantry-routing"]),
    (
        "gantry-app",
        &[
            "gantry-gotemplate",
            "gantry-metrics",
            "gantry-model",
            "gantry-routing",
            "gantry-store",
            "gantry-translate",
        ],
    ),
    ("gantry-rest", &["gantry-model", "gantry-app", "gantry-routing"]),
    ("gantry-etcd", &["gantry-model", "gantry-app", "gantry-etcd-proto"]),
    ("gantry-gateway", &["gantry-routing", "gantry-etcd-proto"]),
    ("gantry-testkit", &[]),
    ("gantry-xtask", &[]),
    ("gantry-bench", &["gantry-testkit"]),
    ("gantry", &["gantry-model", "gantry-app", "gantry-rest", "gantry-etcd", "gantry-gateway"]),
];

pub fn run(metadata: &Value) -> Outcome {
    let mut findings = Vec::new();
    for package in list(metadata, "packages").iter().filter(|package| package["source"].is_null()) {
        let name = package["name"].as_str().unwrap_or_default();
        let Some((_, allowed)) = ALLOWED.iter().find(|(ours, _)| *ours == name) else {
            if name.starts_with("gantry") {
                findings.push(format!("{name} has no line in the table of allowed arrows"));
            }
            continue;
        };
        for dependency in list(package, "dependencies").iter().filter(|d| d["kind"].is_null()) {
            let target = dependency["name"].as_str().unwrap_or_default();
            if target.starts_with("gantry") && !allowed.contains(&target) {
                findings.push(format!("{name} must not depend on {target}: data flows one way"));
            }
        }
    }
    report(&findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_arrow_upward_is_refused() {
        let metadata = json!({ "packages": [{
            "name": "gantry-store", "source": null,
            "dependencies": [{ "name": "gantry-app", "kind": null }]
        }] });
        assert!(run(&metadata).unwrap_err().contains("gantry-store must not depend on gantry-app"));
    }
}
