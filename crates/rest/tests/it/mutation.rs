//! Breaks the rules of a schema one at a time.

use gantry_rest::contract::example;
use serde_json::{Map, Value, json};

/// A value with one broken rule, and the field that breaks it.
pub struct Mutation {
    pub field: String,
    pub value: Value,
}

/// Everything the schema knows, filled with examples; fields without an example come from `given`.
pub fn full(schema: &Value, given: &Map<String, Value>) -> Value {
    let schema = first_form(schema);
    match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
        Some("object") => {
            let properties = schema["properties"].as_object().into_iter().flatten();
            let fields = properties.filter_map(|(name, schema)| {
                let value = given.get(name).cloned().unwrap_or_else(|| full(schema, given));
                (!value.is_null()).then(|| (name.clone(), value))
            });
            Value::Object(fields.collect())
        }
        Some("array") => json!([full(&schema["items"], given)]),
        _ => example(schema).unwrap_or_default(),
    }
}

/// Of several forms of an object, the first stands for all.
fn first_form(schema: &Value) -> &Value {
    let forms = &schema["oneOf"];
    if forms[0]["type"] == "object" { &forms[0] } else { schema }
}

/// One mutation for each rule of `schema` that `value` can break.
pub fn mutations(schema: &Value, value: &Value) -> Vec<Mutation> {
    let mut found = Vec::new();
    walk(schema, value, "", &mut found);
    found
}

fn walk(schema: &Value, value: &Value, field: &str, found: &mut Vec<Mutation>) {
    let schema = first_form(schema);
    for broken in broken(schema, value) {
        found.push(Mutation { field: field.to_owned(), value: broken });
    }
    if let Value::Object(fields) = value {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            let mut without = fields.clone();
            without.remove(name);
            found.push(Mutation { field: join(field, name), value: Value::Object(without) });
        }
        for (name, inner) in fields {
            inside(&schema["properties"][name], inner, &join(field, name), found, |changed| {
                let mut whole = fields.clone();
                whole.insert(name.clone(), changed);
                Value::Object(whole)
            });
        }
    }
    if let Some(first) = value.get(0) {
        inside(&schema["items"], first, &format!("{field}[0]"), found, |changed| json!([changed]));
    }
}

/// The mutations of a part, put back into its whole.
fn inside(
    schema: &Value,
    value: &Value,
    field: &str,
    found: &mut Vec<Mutation>,
    whole: impl Fn(Value) -> Value,
) {
    let mut inner = Vec::new();
    walk(schema, value, field, &mut inner);
    found.extend(inner.into_iter().map(|one| Mutation { value: whole(one.value), ..one }));
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

fn broken(schema: &Value, value: &Value) -> Vec<Value> {
    let mut broken = Vec::new();
    let number = |rule: &str| schema[rule].as_i64();
    let repeat = |rule: &str, more: u64| {
        schema[rule].as_u64().map(|length| "x".repeat(usize::try_from(length + more).unwrap()))
    };
    if schema["type"].is_string() {
        broken.push(if value.is_object() || value.is_array() { json!("text") } else { json!({}) });
    }
    broken.extend(
        number("minimum").map(|least| least.checked_sub(1).map_or(json!(-1e30), Value::from)),
    );
    broken
        .extend(number("maximum").map(|most| most.checked_add(1).map_or(json!(1e30), Value::from)));
    broken.extend(repeat("maxLength", 1).map(Value::from));
    if number("minLength").is_some_and(|least| least > 0) {
        broken.push(json!(""));
    }
    if schema["pattern"].is_string() && schema["pattern"] != r"\S+" {
        broken.push(json!("§ §"));
    }
    if schema["enum"].is_array() {
        broken.push(if value.is_string() { json!("no such option") } else { json!(77) });
    }
    if let Some(items) = value.as_array() {
        if number("minItems").is_some_and(|least| least > 0) {
            broken.push(json!([]));
        }
        if let Some(most) = schema["maxItems"].as_u64() {
            let many = std::iter::repeat_n(items[0].clone(), usize::try_from(most + 1).unwrap());
            broken.push(many.collect());
        }
        if schema["uniqueItems"] == true {
            broken.push(json!([items[0], items[0]]));
        }
    }
    broken
}
