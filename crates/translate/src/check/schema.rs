//! Plugin configurations and whole documents as gateways check them, with the same code.

use gantry_routing::plugin::{self, Role};
use gantry_routing::resource;
use serde_json::Value;

use super::Report;
use crate::{Keys, consumer};

/// Whether a plugin finds out who the consumer is.
pub fn is_authentication(name: &str) -> bool {
    plugin::get(name).is_some_and(plugin::Plugin::is_auth)
}

/// Checks the configuration of a plugin that is switched on, whose path is `field`.
pub fn check(report: &mut Report, field: &str, name: &str, config: &Value) {
    check_role(report, field, name, config, Role::Switch);
}

/// Checks the fields of a credential, whose path is `field`.
pub fn check_credential(report: &mut Report, field: &str, name: &str, fields: &Value) {
    let known = plugin::get(name).filter(|plugin| plugin.is_auth());
    if known.is_none_or(|plugin| plugin.consumer_schema.is_none()) {
        let rule = "is not a kind of credential: use `key-auth`, `basic-auth`, `hmac-auth` \
                    or `jwt-auth`";
        return report.broken(field, rule, "");
    }
    let before = report.0.len();
    check_role(report, field, name, &consumer::credential(name, fields), Role::Consumer);
    if name == "hmac-auth" {
        for violation in report.0.iter_mut().skip(before) {
            violation.field = violation.field.replace(".key_id", ".access_key");
        }
    }
}

/// Checks a configuration for `role`, whose path is `field`.
pub fn check_role(report: &mut Report, field: &str, name: &str, config: &Value, role: Role) {
    let violations = plugin::check(name, &mut config.clone(), role).err().unwrap_or_default();
    for violation in violations {
        let path = match violation.field.as_str() {
            "" => field.to_owned(),
            inner if inner.starts_with('[') => format!("{field}{inner}"),
            inner => format!("{field}.{inner}"),
        };
        report.broken(path, violation.rule, violation.example);
    }
}

/// Checks what an object translates to, when nothing else is wrong with it: the last word is the one
/// that gateways have. The object as a whole is called `noun`.
pub fn check_documents(report: &mut Report, noun: &str, keys: &Keys) {
    if !report.0.is_empty() {
        return;
    }
    for (key, text) in keys {
        let mut parts = key.splitn(4, '/').skip(2);
        let (Some(directory), Some(id)) = (parts.next(), parts.next()) else { continue };
        if let (true, Err(why)) =
            (resource::is_known(directory), resource::parse(directory, id, text.as_bytes()))
        {
            report.broken(noun, format!("cannot be served by a gateway: {why}"), "");
        }
    }
}
