//! A value that a schema accepts, to show in messages.

use serde_json::{Map, Value, json};

/// Texts that patterns and formats of APISIX's schemas accept; the first that fits is shown.
const TEXTS: [&str; 14] = [
    "example",
    "127.0.0.1",
    "/example",
    "example.com",
    "http://example.com",
    "https://example.com",
    "example.com:80",
    "X-Example: 1",
    "application/json",
    "*",
    "10m",
    "2",
    "function(conf, ctx) end",
    "$remote_addr",
];

/// None if we cannot think of one.
pub(super) fn sample(schema: &Value) -> Option<Value> {
    let candidates = given(schema).into_iter().chain(built(schema)).chain(texts(schema));
    let validator = super::validator(schema).ok()?;
    candidates.into_iter().find(|candidate| validator.is_valid(candidate))
}

/// What the schema names itself.
fn given(schema: &Value) -> Option<Value> {
    let named = schema.get("default").or_else(|| schema.get("const"));
    named.or_else(|| schema.get("enum")?.get(0)).cloned()
}

/// What follows from the type.
fn built(schema: &Value) -> Option<Value> {
    match schema.get("type").and_then(Value::as_str) {
        Some("integer" | "number") => Some(number(schema)),
        Some("boolean") => Some(json!(true)),
        Some("array") => {
            let item = schema.get("items").map_or(Some(json!("example")), sample)?;
            let length = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
            Some(Value::Array((0..length.min(4)).map(|_| item.clone()).collect()))
        }
        Some("object") => Some(Value::Object(object(schema))),
        Some(_) => None,
        None => choices(schema).find_map(sample),
    }
}

fn number(schema: &Value) -> Value {
    let bound = |name| schema.get(name).and_then(Value::as_i64);
    let least = bound("exclusiveMinimum").map(|least| least + 1).or_else(|| bound("minimum"));
    json!(least.or_else(|| bound("maximum")).unwrap_or(1))
}

/// The required properties, those of the first alternative included.
fn object(schema: &Value) -> Map<String, Value> {
    let properties = |name: &str| schema.get("properties").and_then(|all| all.get(name));
    let choice = choices(schema).next();
    let required = [Some(schema), choice]
        .into_iter()
        .flatten()
        .filter_map(|part| part.get("required")?.as_array())
        .flatten()
        .filter_map(Value::as_str);
    required.filter_map(|name| Some((name.to_owned(), sample(properties(name)?)?))).collect()
}

fn choices(schema: &Value) -> impl Iterator<Item = &Value> {
    let list = |name| schema.get(name).and_then(Value::as_array).into_iter().flatten();
    list("oneOf").chain(list("anyOf"))
}

fn texts(schema: &Value) -> impl Iterator<Item = Value> {
    let is_text = schema.get("type").is_none_or(|name| name == "string");
    TEXTS.iter().filter(move |_| is_text).map(|text| json!(text))
}
