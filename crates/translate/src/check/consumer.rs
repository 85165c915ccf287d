//! Rules of a consumer.

use gantry_model::Violation;
use gantry_model::config::ConsumerSpec;
use serde_json::Value;

use super::plugins::Place;
use super::{Report, plugins, schema, some_id};
use crate::Surroundings;

/// Longest name, in characters.
const NAME_MAX: usize = 100;

/// Broken rules of a consumer. Whether others use its name or credentials is not looked at.
#[must_use]
pub fn check_consumer(spec: &ConsumerSpec, around: &Surroundings) -> Vec<Violation> {
    let mut report = Report::default();
    let letters = spec.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !letters || !(1..=NAME_MAX).contains(&spec.name.len()) {
        let rule = format!("must be 1 to {NAME_MAX} letters, digits and underscores");
        report.broken("name", rule, r#""mobile_app""#);
    }
    for (name, fields) in &spec.credentials {
        schema::check_credential(&mut report, &format!("credentials.{name}"), name, fields);
    }
    if let Some(fields) = spec.credentials.get("basic-auth") {
        check_basic(&mut report, fields);
    }
    plugins::check(&mut report, Place::Consumer, &spec.plugins, around);
    schema::check_documents(&mut report, "consumer", &crate::consumer(some_id(), spec, around));
    report.0
}

/// HTTP Basic joins both parts with a colon.
fn check_basic(report: &mut Report, fields: &Value) {
    for (part, example) in [("username", r#""alice""#), ("password", r#""correct-horse""#)] {
        let text = fields.get(part).and_then(Value::as_str).unwrap_or_default();
        if text.contains(|letter: char| letter == ':' || letter.is_whitespace()) {
            let field = format!("credentials.basic-auth.{part}");
            report.broken(field, "must not hold `:` or white space", example);
        }
    }
}
