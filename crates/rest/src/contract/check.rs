//! Checks a value against a schema and says every broken rule in plain words.

use gantry_model::Violation;
use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::paths::LocationSegment;
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::example;

/// Broken rules named in one answer; a body of megabytes can break a million.
const VIOLATIONS_MAX: usize = 100;

/// Longest example in a message, in bytes.
const EXAMPLE_MAX: usize = 200;

/// A schema, compiled.
pub struct Checker {
    schema: Value,
    validator: Validator,
}

impl Checker {
    /// # Panics
    /// When the schema is none, which only a broken contract can cause.
    #[must_use]
    pub fn new(schema: Value) -> Self {
        let validator = jsonschema::options()
            .should_validate_formats(true)
            .build(&schema)
            .expect("schemas of the contract compile");
        Self { schema, validator }
    }

    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Every broken rule of `value`; fields are named from its root, which is called `root`.
    #[must_use]
    pub fn violations(&self, value: &Value, root: &str) -> Vec<Violation> {
        let mut found = Vec::new();
        for error in self.validator.iter_errors(value).take(VIOLATIONS_MAX) {
            self.explain(&error, root, &mut found);
        }
        found
    }

    fn explain(&self, error: &ValidationError<'_>, root: &str, found: &mut Vec<Violation>) {
        if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = error.kind() {
            let branches = self.schema_at(error, None).unwrap_or(&Value::Null);
            match Choice::of(branches, error.instance()) {
                Choice::Branch(position) => {
                    let errors = context.get(position).into_iter().flatten();
                    errors.for_each(|error| self.explain(error, root, found));
                    return;
                }
                Choice::Missing(tag, options) => {
                    found.push(self.violation(error, root, Some(tag), "is required", &options));
                    return;
                }
                Choice::Unknown(tag, options) => {
                    let rule = format!("must be one of {}", list(&options));
                    found.push(self.violation(error, root, Some(tag), rule, &options));
                    return;
                }
                Choice::Untold => {
                    if let Some(branch) = context.iter().min_by_key(|errors| distance(errors)) {
                        branch.iter().for_each(|error| self.explain(error, root, found));
                        return;
                    }
                }
            }
        }
        let required = match error.kind() {
            Kind::Required { property } => property.as_str(),
            _ => None,
        };
        found.push(self.violation(error, root, required, rule(error.kind(), error), &Value::Null));
    }

    /// One broken rule of the place of `error`, or of a field in it. The example is the first of
    /// `options`, or follows from the schema.
    fn violation(
        &self,
        error: &ValidationError<'_>,
        root: &str,
        field: Option<&str>,
        rule: impl Into<String>,
        options: &Value,
    ) -> Violation {
        let mut path = path(error);
        if let Some(field) = field {
            path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        }
        let first = options.get(0).cloned();
        let example = first.or_else(|| self.schema_at(error, field).and_then(example));
        let example = example.map(|value| value.to_string());
        let example = example.filter(|text| text.len() <= EXAMPLE_MAX).unwrap_or_default();
        let path = if path.is_empty() { root.to_owned() } else { path };
        Violation::new(path, rule, example)
    }

    /// The schema whose keyword `error` reports, or that of a field in it; for a keyword with
    /// branches, the branches.
    fn schema_at(&self, error: &ValidationError<'_>, field: Option<&str>) -> Option<&Value> {
        let keyword = error.schema_path().as_str();
        if matches!(error.kind(), Kind::AnyOf { .. } | Kind::OneOfNotValid { .. }) {
            return self.schema.pointer(keyword);
        }
        let (schema, _) = keyword.rsplit_once('/')?;
        let schema = self.schema.pointer(schema)?;
        field.map_or(Some(schema), |field| schema["properties"].get(field))
    }
}

/// Which of several forms a value is meant to have.
enum Choice<'a> {
    /// The position of the form that its tag names.
    Branch(usize),
    /// The field that tells the forms apart is not there; all it may hold.
    Missing(&'a str, Value),
    /// The field names no form.
    Unknown(&'a str, Value),
    /// No field tells the forms apart.
    Untold,
}

impl<'a> Choice<'a> {
    fn of(branches: &'a Value, value: &Value) -> Self {
        let branches = branches.as_array().map(Vec::as_slice).unwrap_or_default();
        let (Some(first), true) = (branches.first(), value.is_object()) else {
            return Self::Untold;
        };
        let required = first["required"].as_array().into_iter().flatten();
        let Some(tag) = required.filter_map(Value::as_str).find(|name| is_tag(branches, name))
        else {
            return Self::Untold;
        };
        let names = |branch: &'a Value| branch["properties"][tag]["enum"].as_array();
        let options = || branches.iter().filter_map(names).flatten().cloned().collect();
        let Some(told) = value.get(tag) else { return Self::Missing(tag, options()) };
        let meant = branches.iter().position(|one| names(one).is_some_and(|n| n.contains(told)));
        meant.map_or_else(|| Self::Unknown(tag, options()), Self::Branch)
    }
}

/// Whether every branch needs the field `name` and no two allow it the same value.
fn is_tag(branches: &[Value], name: &str) -> bool {
    let mut seen: Vec<&Value> = Vec::new();
    branches.iter().all(|branch| {
        let is_required =
            branch["required"].as_array().is_some_and(|list| list.iter().any(|one| one == name));
        let options = branch["properties"][name]["enum"].as_array();
        let is_new = options.is_some_and(|list| !list.iter().any(|one| seen.contains(&one)));
        seen.extend(options.into_iter().flatten());
        is_required && is_new
    })
}

/// How far a value is from a branch of `anyOf`: a branch whose named values fit is meant (they tell
/// the branches apart), among those the one with the fewest broken rules.
fn distance(errors: &[ValidationError<'_>]) -> (bool, usize) {
    let other_kind = |error: &ValidationError<'_>| {
        let mut ends = error.schema_path().as_str().rsplit('/');
        matches!(error.kind(), Kind::Enum { .. } | Kind::Constant { .. })
            && ends.nth(2) == Some("properties")
    };
    (errors.iter().any(other_kind), errors.len())
}

/// Where in the value an error stands, such as `upstreams[0].version`.
fn path(error: &ValidationError<'_>) -> String {
    let mut path = String::new();
    for segment in error.instance_path() {
        match segment {
            LocationSegment::Property(name) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&name);
            }
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

fn rule(kind: &Kind, error: &ValidationError<'_>) -> String {
    match kind {
        Kind::Required { .. } => "is required".into(),
        Kind::Type { kind } => format!("must be {}", type_name(kind)),
        Kind::Enum { options } => format!("must be one of {}", list(options)),
        Kind::Pattern { pattern } => format!("must match the pattern {pattern}"),
        Kind::Format { format } => format!("must be of the format {format}"),
        Kind::MinLength { limit: 1 } => "must not be empty".into(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::MinItems { limit } => format!("must have at least {}", count(*limit, "item")),
        Kind::MaxItems { limit } => format!("must have at most {}", count(*limit, "item")),
        Kind::UniqueItems => "must not hold the same item twice".into(),
        Kind::MinProperties { limit } => {
            format!("must have at least {} of this operation", count(*limit, "field"))
        }
        Kind::OneOfMultipleValid { .. } => "must fit exactly one of the allowed forms".into(),
        _ => error.to_string(),
    }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn list(options: &Value) -> String {
    let options = options.as_array().into_iter().flatten().filter(|option| !option.is_null());
    let options = options.map(|option| match option {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    options.collect::<Vec<_>>().join(", ")
}

fn type_name(kind: &TypeKind) -> String {
    let name = |text: &str| match text {
        "array" | "integer" | "object" => format!("an {text}"),
        "null" => text.to_owned(),
        _ => format!("a {text}"),
    };
    match kind {
        TypeKind::Single(one) => name(&one.to_string()),
        TypeKind::Multiple(many) => {
            many.iter().map(|one| name(&one.to_string())).collect::<Vec<_>>().join(" or ")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::contract::contract;

    use super::*;

    fn broken(operation: &str, body: &Value) -> Vec<(String, String)> {
        let operation = contract().operation(operation).unwrap();
        let found = operation.body().unwrap().violations(body, "body");
        found.into_iter().map(|violation| (violation.field, violation.rule)).collect()
    }

    #[test]
    fn all_broken_rules_are_named_with_their_paths() {
        let body = json!({
            "name": "", "hosts": [], "path_prefix": "shop",
            "upstreams": [{ "version": "v1", "upstream": {
                "scheme": "http", "targets": [
                    { "host": "a", "port": 1, "weight": 1 }, { "host": "b", "port": 70000, "weight": 1 }
                ] } }]
        });
        let expected = [
            ("hosts", "must have at least 1 item"),
            ("name", "must not be empty"),
            ("path_prefix", "must match the pattern ^/"),
            ("upstreams[0].upstream.targets[1].port", "must be at most 65535"),
        ];
        let mut found = broken("createApplication", &body);
        found.sort();
        assert_eq!(found, expected.map(|(field, rule)| (field.to_owned(), rule.to_owned())));
    }

    #[test]
    fn of_several_forms_the_nearest_is_explained() {
        let body = json!({ "name": "a", "paths": [{ "path": "/" }], "methods": ["GET", "FETCH"] });
        let found = broken("createAPI", &body);
        let rule = "must be one of GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, TRACE, CONNECT";
        assert_eq!(found, [("methods[1]".to_owned(), rule.to_owned())]);
    }

    #[test]
    fn a_form_is_known_by_the_field_that_names_it() {
        let condition = json!({
            "event": "gateway_instance_offline", "operator": "equal", "value": 1,
            "value_unit": "day"
        });
        for (field, value, expected) in [
            ("value_unit", json!("week"), "must be one of hour, minute, second, year, month, day"),
            ("operator", json!("less_than"), "must be one of equal, larger_equal, larger_than"),
            (
                "event",
                json!("fire"),
                "must be one of number_of_status_code, ratio_of_status_code, \
                control_plane_certificate_will_expire_in, gateway_certificate_will_expire_in, \
                gateway_instance_offline",
            ),
            ("event", Value::Null, "is required"),
            ("value", Value::Null, "is required"),
        ] {
            let mut condition = condition.clone();
            match value {
                Value::Null => {
                    condition.as_object_mut().unwrap().remove(field);
                }
                value => condition[field] = value,
            }
            let body = json!({
                "trigger_logical_operator": "All", "trigger_conditions": [condition]
            });
            let expected = (format!("trigger_conditions[0].{field}"), expected.to_owned());
            assert_eq!(broken("setAlertPolicyTrigger", &body), [expected]);
        }
    }

    #[test]
    fn an_empty_change_is_refused() {
        let found = broken("patchApplication", &json!({}));
        assert_eq!(found[0].1, "must have at least 1 field of this operation");
    }

    #[test]
    fn examples_stand_beside_the_rules() {
        let operation = contract().operation("createAPI").unwrap();
        let found = operation.body().unwrap().violations(&json!({ "name": "a" }), "body");
        assert_eq!(found[0].to_string(), "`paths` is required, for example [{\"path\":\"shop\"}]");
    }
}
