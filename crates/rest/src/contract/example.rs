//! Examples that keep the rules of a schema, for messages and tests.

use serde_json::{Map, Value, json};

/// Texts that read well; the first that keeps the rules is taken.
const TEXTS: &[&str] = &[
    "shop",
    "/products",
    "5xx",
    "453750199534224179",
    "2030-01-31T12:00:00Z",
    "owner@example.com",
    "3f2b8c1e-5d1f-4a52-9a44-0d6c7e0f9b11",
    "https://example.com/hook",
];

/// Longest example worth showing; longer texts (certificates) have none.
const TEXT_MAX: u64 = 64;

/// A value that `schema` accepts; `None` when none is obvious.
#[must_use]
pub fn example(schema: &Value) -> Option<Value> {
    let given = [&schema["example"], &schema["default"], &schema["enum"][0]];
    let fits = |value: &Value| keeps(schema, value);
    if let Some(given) = given.into_iter().find(|value| !value.is_null() && fits(value)) {
        return Some(given.clone());
    }
    for branches in ["anyOf", "oneOf"] {
        if let Some(found) = schema[branches].as_array().and_then(|list| example(list.first()?)) {
            return Some(found).filter(fits);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    let found = match kind {
        Some("string") => text(schema),
        Some("integer" | "number") => Some(number(schema)),
        Some("boolean") => Some(json!(true)),
        Some("array") => Some(json!([example(&schema["items"])?])),
        Some("object") => object(schema),
        _ => None,
    };
    found.filter(fits)
}

fn keeps(schema: &Value, value: &Value) -> bool {
    let validator = jsonschema::options().should_validate_formats(true).build(schema);
    validator.is_ok_and(|validator| validator.is_valid(value))
}

fn text(schema: &Value) -> Option<Value> {
    if schema["minLength"].as_u64().is_some_and(|length| length > TEXT_MAX) {
        return None;
    }
    TEXTS.iter().map(|text| json!(text)).find(|text| keeps(schema, text))
}

fn number(schema: &Value) -> Value {
    let least = schema["minimum"].as_i64().unwrap_or(i64::MIN);
    let most = schema["maximum"].as_i64().unwrap_or(i64::MAX);
    json!(1.max(least).min(most))
}

/// Only what is required; a schema that wants "at least one" gets its first property.
fn object(schema: &Value) -> Option<Value> {
    let mut fields = Map::new();
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        fields.insert(name.to_owned(), example(&schema["properties"][name])?);
    }
    if fields.is_empty() && schema["minProperties"].as_u64().is_some_and(|least| least > 0) {
        let (name, property) = schema["properties"].as_object()?.iter().next()?;
        fields.insert(name.clone(), example(property)?);
    }
    Some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use crate::contract::contract;

    use super::*;

    #[test]
    fn examples_keep_their_rules() {
        let operation = contract().operation("createApplication").unwrap();
        let schema = operation.body().unwrap().schema();
        let example = example(schema).unwrap();
        assert_eq!(example["path_prefix"], "/products");
        assert_eq!(example["upstreams"][0]["upstream"]["scheme"], "http");
    }

    #[test]
    fn certificates_have_no_example() {
        assert_eq!(example(&json!({ "type": "string", "minLength": 128 })), None);
    }
}
