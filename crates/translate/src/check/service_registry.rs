//! Rules of a service registry, and of upstreams that are looked up in one.

use gantry_model::Violation;
use gantry_model::config::ServiceRegistrySpec;
use gantry_model::config::service_registry::{Kubernetes, LabelSelector, NamespaceSelector};
use gantry_model::config::upstream::ServiceDiscovery;
use gantry_routing::regex;

use super::{Report, host};
use crate::Surroundings;

/// Longest name, and longest token (APISIX), in characters.
const NAME_MAX: usize = 1024;
const TOKEN_MAX: usize = 4096;

/// Broken rules of a service registry.
#[must_use]
pub fn check_service_registry(spec: &ServiceRegistrySpec) -> Vec<Violation> {
    let mut report = Report::default();
    if !(1..=NAME_MAX).contains(&spec.name.chars().count()) {
        let rule = format!("must be 1 to {NAME_MAX} characters long");
        report.broken("name", rule, r#""production""#);
    }
    let kubernetes = &spec.kubernetes;
    let server = &kubernetes.api_server;
    if !server.host.is_empty() && !host::is_address(&server.host) {
        let rule = "must be a host name or an IP address without scheme and port";
        report.broken("kubernetes.api_server.host", rule, r#""10.0.0.1""#);
    }
    if server.port == Some(0) {
        report.broken("kubernetes.api_server.port", "must be 1 to 65535", "6443");
    }
    check_token(&mut report, kubernetes);
    if let Some(selector) = &kubernetes.namespace_selector {
        check_namespaces(&mut report, selector);
    }
    for (index, selector) in kubernetes.endpoints_label_selectors.iter().enumerate() {
        check_label(&mut report, index, selector);
    }
    report.0
}

fn check_token(report: &mut Report, kubernetes: &Kubernetes) {
    let Kubernetes { service_account_token_file: file, service_account_token_value: value, .. } =
        kubernetes;
    let field = "kubernetes.service_account_token_value";
    if file.is_empty() == value.is_empty() {
        let rule = "must be there if, and only if, `service_account_token_file` is not";
        report.broken(field, rule, r#""eyJhbGciOi…""#);
    }
    if value.chars().count() > TOKEN_MAX || value.contains(|c: char| !c.is_ascii_graphic()) {
        let rule = format!("must be at most {TOKEN_MAX} visible ASCII characters");
        report.broken(field, rule, r#""eyJhbGciOi…""#);
    }
    if file.contains(char::is_control) {
        let example = r#""/var/run/secrets/kubernetes.io/serviceaccount/token""#;
        report.broken("kubernetes.service_account_token_file", "must be a path", example);
    }
}

/// Letters that Kubernetes allows in names of namespaces, services and ports.
fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    !text.is_empty()
        && text.len() <= 253
        && text.bytes().all(|byte| inner(byte) || b"-._".contains(&byte))
        && [text.as_bytes().first(), text.as_bytes().last()]
            .into_iter()
            .flatten()
            .all(|byte| inner(*byte))
}

fn check_namespaces(report: &mut Report, selector: &NamespaceSelector) {
    let NamespaceSelector { operator, patterns } = selector;
    let field = "kubernetes.namespace_selector";
    match operator.as_str() {
        "equal" | "not_equal" if matches!(patterns.as_slice(), [one] if is_name(one)) => {}
        "equal" | "not_equal" => {
            let rule = "must be the name of one namespace, because of the operator";
            report.broken(format!("{field}.patterns"), rule, r#"["shop"]"#);
        }
        "match" | "not_match" => {
            if patterns.is_empty() {
                let rule = "must hold a regular expression";
                report.broken(format!("{field}.patterns"), rule, r#"["^shop"]"#);
            }
            for (index, pattern) in patterns.iter().enumerate() {
                if let Err(why) = regex::compile(pattern, false) {
                    let rule = format!("is not valid: {why}");
                    report.broken(format!("{field}.patterns[{index}]"), rule, r#""^shop""#);
                }
            }
        }
        // What the Go SDK sends for an absent selector.
        "" if patterns.is_empty() => {}
        _ => {
            let rule = "must be `equal`, `not_equal`, `match` or `not_match`";
            report.broken(format!("{field}.operator"), rule, r#""equal""#);
        }
    }
}

fn check_label(report: &mut Report, index: usize, selector: &LabelSelector) {
    let LabelSelector { key, operator, value } = selector;
    let field = format!("kubernetes.endpoints_label_selectors[{index}]");
    let letters = |text: &str, more: &[u8]| {
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || more.contains(&byte))
    };
    if key.is_empty() || !letters(key, b"-_./") {
        let rule = "must be the key of a label";
        report.broken(format!("{field}.key"), rule, r#""app.kubernetes.io/name""#);
    }
    let fits = match operator.as_str() {
        "equal" | "not_equal" | "=" | "!=" => letters(value, b"-_."),
        "in" | "notin" => !value.is_empty() && letters(value, b"-_.,"),
        "exists" | "not_exists" => value.is_empty(),
        _ => {
            let rule = "must be `equal`, `not_equal`, `in`, `notin`, `exists` or `not_exists`";
            return report.broken(format!("{field}.operator"), rule, r#""equal""#);
        }
    };
    if !fits {
        let rule = "must be a value of a label; for `in` and `notin` several with commas between \
                    them, for `exists` and `not_exists` empty";
        report.broken(format!("{field}.value"), rule, r#""orders""#);
    }
}

/// Checks where an upstream is looked up; `field` is its path.
pub fn check_discovery(
    report: &mut Report,
    field: &str,
    discovery: &ServiceDiscovery,
    around: &Surroundings,
) {
    if !around.service_registries.contains_key(&discovery.service_registry_id) {
        let rule = "must be the id of a service registry of this cluster";
        report.broken(format!("{field}.service_registry_id"), rule, "");
    }
    let service = &discovery.kubernetes_service;
    for (part, text) in
        [("namespace", &service.namespace), ("name", &service.name), ("port", &service.port)]
    {
        if !is_name(text) {
            let rule = "must be a name as Kubernetes has them";
            report.broken(format!("{field}.kubernetes_service.{part}"), rule, r#""shop""#);
        }
    }
}
