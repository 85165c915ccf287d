//! The plugins of APISIX: what is known about each, and whether a configuration is one a gateway can
//! run.

mod catalog;
mod extra;
mod runs;

use serde_json::{Map, Value};

use crate::resource;
use crate::schema::{Schema, Violation};

pub use catalog::{Plugin, all, get};
pub use runs::{RUN_IN_GANTRY, left_out, runs_in_gantry};

/// What a configuration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// On a route, service or global rule: what the plugin does.
    Switch,
    /// On a consumer: for plugins of authentication the credential, for others as `Switch`.
    Consumer,
    /// For all uses of the plugin together.
    Metadata,
}

/// Checks a configuration as APISIX does and writes its defaults into it.
///
/// A configuration that is switched off by `_meta.disable` only needs a valid `_meta`.
pub fn check(name: &str, config: &mut Value, role: Role) -> Result<(), Vec<Violation>> {
    let Some(plugin) = get(name) else {
        return Err(vec![Violation::new("", format!("is not valid: there is no plugin `{name}`"))]);
    };
    let Value::Object(fields) = config else {
        return Err(vec![Violation::new("", "must be an object")]);
    };
    // Not part of any plugin's own schema, and some forbid unknown fields.
    let field = if role == Role::Metadata { "id" } else { "_meta" };
    let aside = fields.remove(field);
    let mut violations = Vec::new();
    if let (Some(meta), true) = (&aside, role != Role::Metadata) {
        violations.extend(check_meta(meta));
    }
    if !aside.as_ref().is_some_and(is_disabled) {
        violations.extend(check_own(plugin, config, role));
    }
    if let (Some(aside), Value::Object(fields)) = (aside, config) {
        fields.insert(field.to_owned(), aside);
    }
    if violations.is_empty() { Ok(()) } else { Err(violations) }
}

fn is_disabled(meta: &Value) -> bool {
    meta.get("disable") == Some(&Value::Bool(true))
}

/// Defaults and schema first; the checks in code only see what has the right shape.
fn check_own(plugin: &'static Plugin, config: &mut Value, role: Role) -> Vec<Violation> {
    match plugin.compiled(role) {
        None => Vec::new(),
        Some(Ok(schema)) => {
            let violations = schema.check(config);
            if violations.is_empty() { extra::check(plugin, config, role) } else { violations }
        }
        Some(Err(error)) => vec![Violation::new("", format!("cannot be checked: {error}"))],
    }
}

fn check_meta(meta: &Value) -> Vec<Violation> {
    let mut meta = meta.clone();
    let mut violations = match resource::schema("_meta_property") {
        Ok(schema) => Schema::check(schema, &mut meta),
        Err(error) => vec![Violation::new("", error)],
    };
    for violation in &mut violations {
        violation.field = match violation.field.as_str() {
            "" => "_meta".to_owned(),
            field => format!("_meta.{field}"),
        };
    }
    if violations.is_empty()
        && let Some(filter) = meta.get("filter")
    {
        violations.extend(extra::expression("_meta.filter", filter));
    }
    violations
}

/// Paths of the fields that hold secrets, such as `redis_password` or `brokers.sasl_config.password`;
/// lists on the way are not part of a path. Empty for an unknown plugin.
#[must_use]
pub fn secret_fields(name: &str, role: Role) -> &'static [String] {
    get(name).map_or(&[], |plugin| plugin.secret_fields(role))
}

/// Runs `visit` on every value of a configuration that is a secret, for sealing and masking.
pub fn visit_secrets(
    name: &str,
    role: Role,
    config: &mut Map<String, Value>,
    mut visit: impl FnMut(&mut Value),
) {
    for path in secret_fields(name, role) {
        let mut segments = path.split('.');
        if let Some(value) = segments.next().and_then(|first| config.get_mut(first)) {
            visit_path(value, segments, &mut visit);
        }
    }
}

fn visit_path(
    value: &mut Value,
    mut path: std::str::Split<'_, char>,
    visit: &mut impl FnMut(&mut Value),
) {
    match value {
        Value::Array(items) => {
            for item in items {
                visit_path(item, path.clone(), visit);
            }
        }
        Value::Object(fields) => match path.next() {
            Some(name) => {
                if let Some(inner) = fields.get_mut(name) {
                    visit_path(inner, path, visit);
                }
            }
            // The field is a map of secrets, such as headers.
            None => fields.values_mut().for_each(|inner| visit_path(inner, path.clone(), visit)),
        },
        secret => {
            if path.next().is_none() {
                visit(secret);
            }
        }
    }
}

#[cfg(test)]
mod tests;
