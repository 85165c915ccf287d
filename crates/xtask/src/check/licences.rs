//! Permissive licences only, and one library for each thing of which two would be a mess.

use serde_json::Value;

use super::{list, report};
use crate::shell::Outcome;

/// Licences that allow what Apache-2.0 allows.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Libraries that must not come in, with the reason.
const BANNED: &[(&str, &str)] = &[
    ("openssl-sys", "the one TLS stack is rustls with ring"),
    ("native-tls", "the one TLS stack is rustls with ring"),
    ("aws-lc-sys", "the one TLS stack is rustls with ring; this one needs cmake"),
    ("boring-sys", "the one TLS stack is rustls with ring"),
    ("cmake", "a fresh machine has no cmake"),
];

/// Libraries that others bring along but our crates must not name, with the reason.
const NOT_OURS: &[(&str, &str)] = &[
    ("chrono", "our time library is jiff"),
    ("serde_yaml", "archived; our YAML library is serde_norway"),
];

/// Libraries of which two versions would mean two stacks side by side.
const SINGLE: &[&str] =
    &["rustls", "ring", "tokio", "hyper", "axum", "sqlx", "tonic", "prost", "jiff", "h2"];

pub fn run(metadata: &Value) -> Outcome {
    let packages = list(metadata, "packages");
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| !package["source"].is_null()) {
        let (name, licence) = (text(package, "name"), text(package, "license"));
        if !permissive(licence) {
            findings.push(format!("{name}: licence `{licence}` is not on the list"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| *banned == name) {
            findings.push(format!("{name}: {why}"));
        }
    }
    for package in packages.iter().filter(|package| package["source"].is_null()) {
        for dependency in list(package, "dependencies") {
            if let Some((name, why)) = NOT_OURS.iter().find(|(name, _)| dependency["name"] == *name)
            {
                findings.push(format!("{} depends on {name}: {why}", text(package, "name")));
            }
        }
    }
    for single in SINGLE {
        let versions = packages.iter().filter(|package| text(package, "name") == *single).count();
        if versions > 1 {
            findings.push(format!("{single}: {versions} versions, one is enough"));
        }
    }
    report(&findings)
}

fn text<'a>(package: &'a Value, key: &str) -> &'a str {
    package[key].as_str().unwrap_or_default()
}

/// Reads an SPDX expression without precedence of `AND` over `OR` inside parentheses: each group of
/// alternatives needs one permissive member.
fn permissive(expression: &str) -> bool {
    let expression = expression.replace(" / ", " OR ").replace('/', " OR ");
    !expression.is_empty()
        && expression.split(" AND ").all(|group| {
            let group = group.trim_matches(['(', ')', ' ']);
            group.split(" OR ").any(|licence| PERMISSIVE.contains(&licence.trim()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_and_conjunctions_are_told_apart() {
        assert!(permissive("MIT OR Apache-2.0 OR LGPL-2.1-or-later"));
        assert!(permissive("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(permissive("Unlicense/MIT"));
        assert!(!permissive("GPL-3.0-only"));
        assert!(!permissive("MIT AND GPL-3.0-only"));
        assert!(!permissive(""));
    }
}
