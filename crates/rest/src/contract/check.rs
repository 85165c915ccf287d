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
        if let Kind::AnyOf { context } | Kind::OneOfNotValid { context } = error.kind()
            && let Some(branch) = context.iter().min_by_key(|errors| distance(errors))
        {
            branch.iter().for_each(|error| self.explain(error, root, found));
            return;
        }
        let mut place = Place { field: String::new(), schema: Some(&self.schema) };
        error.instance_path().iter().for_each(|segment| place.enter(&segment));
        if let Kind::Required { property } = error.kind() {
            let name = property.as_str().unwrap_or_default();
            place.enter(&LocationSegment::Property(name.into()));
        }
        let example = place.schema.and_then(example).map(|value| value.to_string());
        let example = example.filter(|text| text.len() <= EXAMPLE_MAX).unwrap_or_default();
        let field = if place.field.is_empty() { root.to_owned() } else { place.field };
        found.push(Violation::new(field, rule(error.kind(), error), example));
    }
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

/// A field's path and its schema, found by walking down together.
struct Place<'a> {
    field: String,
    schema: Option<&'a Value>,
}

impl Place<'_> {
    fn enter(&mut self, segment: &LocationSegment<'_>) {
        match segment {
            LocationSegment::Property(name) => {
                if !self.field.is_empty() {
                    self.field.push('.');
                }
                self.field.push_str(name);
                self.schema = self.schema.and_then(|schema| {
                    schema["properties"]
                        .get(name.as_ref())
                        .or_else(|| schema.get("additionalProperties"))
                });
            }
            LocationSegment::Index(index) => {
                self.field.push_str(&format!("[{index}]"));
                self.schema = self.schema.and_then(|schema| {
                    schema.get("items").or_else(|| schema["anyOf"][0].get("items"))
                });
            }
        }
    }
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
