//! Errors of the validator as sentences a user can act on.

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind as Kind;
use serde_json::Value;

use super::Violation;
use super::sample::sample;

/// One error may be about several fields.
pub(super) fn violations(
    root: &Value,
    document: &Value,
    error: &ValidationError<'_>,
) -> Vec<Violation> {
    let field = field(document, error.instance_path().as_str());
    let schema = enclosing(root, error.schema_path().as_str());
    if let Some(almost) = almost(error.kind(), schema) {
        return almost.iter().flat_map(|error| violations(root, document, error)).collect();
    }
    match error.kind() {
        Kind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            let example = schema.get("properties").and_then(|all| all.get(name)).and_then(sample);
            vec![violation(join(&field, name), "is required".into(), example)]
        }
        Kind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| violation(join(&field, name), "is not a known field".into(), None))
            .collect(),
        kind => vec![violation(field, rule(kind, schema, error), sample(schema))],
    }
}

/// The errors of an alternative that fits but for missing fields, if the alternatives differ in more
/// than what they require.
fn almost<'a>(kind: &'a Kind, schema: &Value) -> Option<&'a [ValidationError<'static>]> {
    let (keyword, context) = match kind {
        Kind::OneOfNotValid { context } => ("oneOf", context),
        Kind::AnyOf { context } => ("anyOf", context),
        _ => return None,
    };
    let choices = schema.get(keyword)?.as_array()?;
    if choices.iter().all(|choice| choice.get("properties").is_none()) {
        return None;
    }
    let lacks = |error: &ValidationError<'_>| matches!(error.kind(), Kind::Required { .. });
    context.iter().find(|errors| errors.iter().all(lacks)).map(Vec::as_slice)
}

fn violation(field: String, rule: String, example: Option<Value>) -> Violation {
    let violation = Violation::new(field, rule);
    match example {
        Some(example) => violation.with_example(&example),
        None => violation,
    }
}

fn rule(kind: &Kind, schema: &Value, error: &ValidationError<'_>) -> String {
    match kind {
        Kind::Type { .. } => format!("must be {}", type_names(schema)),
        Kind::Enum { options } => format!("must be one of {}", values(options)),
        Kind::Constant { expected_value } => format!("must be {expected_value}"),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MinLength { limit: 1 } => "must not be empty".to_owned(),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {}", count(*limit, "item")),
        Kind::MaxItems { limit } => format!("must have at most {}", count(*limit, "item")),
        Kind::MinProperties { limit } => format!("must have at least {}", count(*limit, "field")),
        Kind::MaxProperties { limit } => format!("must have at most {}", count(*limit, "field")),
        Kind::UniqueItems => "must not hold the same item twice".to_owned(),
        Kind::Pattern { pattern } => format!("must match the regular expression {pattern}"),
        Kind::Format { format } => format!("must be a valid {format}"),
        Kind::OneOfNotValid { .. } => alternatives(schema, "oneOf", "one"),
        Kind::OneOfMultipleValid { .. } => alternatives(schema, "oneOf", "exactly one"),
        Kind::AnyOf { .. } => alternatives(schema, "anyOf", "at least one"),
        Kind::Not { schema } => forbidden(schema),
        _ => format!("is not valid: {}", error.masked()),
    }
}

fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn type_names(schema: &Value) -> String {
    let words = |name: &Value| match name.as_str() {
        Some("string") => "a text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("object") => "an object",
        Some("array") => "a list",
        _ => "null",
    };
    match schema.get("type") {
        Some(Value::Array(names)) => names.iter().map(words).collect::<Vec<_>>().join(" or "),
        Some(name) => words(name).to_owned(),
        None => "of another type".to_owned(),
    }
}

fn values(options: &Value) -> String {
    let list = options.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Alternatives that only differ in what they require are told by name.
fn alternatives(schema: &Value, keyword: &str, number: &str) -> String {
    let choices = schema.get(keyword).and_then(Value::as_array);
    let names: Option<Vec<String>> = choices.into_iter().flatten().map(required_names).collect();
    match names {
        Some(names) if !names.is_empty() => format!("needs {number} of: {}", names.join(", ")),
        _ => "has none of the allowed forms".to_owned(),
    }
}

/// The names of `{"required": [...]}` as words.
fn required_names(schema: &Value) -> Option<String> {
    let names = schema.get("required")?.as_array()?;
    let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
    Some(format!("`{}`", names.join("` with `")))
}

fn forbidden(schema: &Value) -> String {
    match required_names(schema) {
        Some(names) => format!("must not have {names} here"),
        None => "has a form that is not allowed".to_owned(),
    }
}

/// The schema that holds the keyword at the end of a JSON pointer.
fn enclosing<'a>(root: &'a Value, pointer: &str) -> &'a Value {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    root.pointer(parent).unwrap_or(&Value::Null)
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

/// `/a/0/b` as `a[0].b`.
fn field(document: &Value, pointer: &str) -> String {
    let mut field = String::new();
    let mut value = Some(document);
    for segment in pointer.split('/').skip(1) {
        let name = segment.replace("~1", "/").replace("~0", "~");
        match value {
            Some(Value::Array(list)) => {
                field.push_str(&format!("[{name}]"));
                value = name.parse::<usize>().ok().and_then(|index| list.get(index));
            }
            _ => {
                field = join(&field, &name);
                value = value.and_then(|value| value.get(&name));
            }
        }
    }
    field
}
