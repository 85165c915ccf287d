//! Plugin configurations against the schemas of APISIX.

use serde_json::Value;

use super::Report;

/// Which of a plugin's schemas applies.
#[derive(Clone, Copy)]
pub enum Side {
    /// Where a plugin is switched on: applications, APIs, clusters, consumers.
    Switch,
    /// Credentials of a consumer.
    Credential,
}

/// Whether a plugin tells consumers apart.
pub fn is_authentication(name: &str) -> bool {
    name.ends_with("-auth")
}

/// Checks the configuration of a plugin, whose path is `field`.
pub fn check(report: &mut Report, field: &str, _name: &str, config: &Value, _side: Side) {
    if !config.is_object() {
        report.broken(field, "must be an object", "{}");
    }
}

/// Checks the fields of a credential, whose path is `field`.
pub fn check_credential(report: &mut Report, field: &str, name: &str, fields: &Value) {
    check(report, field, name, fields, Side::Credential);
}
