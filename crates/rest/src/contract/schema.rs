//! OpenAPI 3.0 schemas in the words of JSON Schema: references resolved, `allOf` merged,
//! `nullable` made a type. The result has no references left, so that it can be walked.

use serde_json::{Map, Value, json};

/// Keywords that mean the same in both languages.
const KEPT: &[&str] = &[
    "type",
    "format",
    "enum",
    "default",
    "example",
    "required",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
];

/// Ids in paths and bodies (contract, schema `ID`).
pub const ID_PATTERN: &str = "^[1-9][0-9]*$";

/// Follows a `$ref` of the document; anything else is itself.
pub fn resolve<'a>(document: &'a Value, node: &'a Value) -> &'a Value {
    let target = node["$ref"].as_str().and_then(|text| document.pointer(text.strip_prefix('#')?));
    target.unwrap_or(node)
}

/// `schema` without references, `allOf` and OpenAPI's own keywords.
pub fn flatten(document: &Value, schema: &Value) -> Value {
    let Value::Object(source) = resolve(document, schema) else { return schema.clone() };
    let mut flat = Map::new();
    for part in source.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        if let Value::Object(part) = flatten(document, part) {
            merge(&mut flat, part);
        }
    }
    let own = source.iter().filter_map(|(key, value)| {
        let value = match key.as_str() {
            "properties" => map_values(value, |schema| flatten(document, schema)),
            "items" | "additionalProperties" => flatten(document, value),
            "anyOf" | "oneOf" => map_values(value, |schema| flatten(document, schema)),
            kept if KEPT.contains(&kept) => value.clone(),
            _ => return None,
        };
        Some((key.clone(), value))
    });
    merge(&mut flat, own.collect());
    adapt(&mut flat, source);
    Value::Object(flat)
}

/// What cannot be copied: `nullable`, and two places where the contract explains itself in words.
fn adapt(flat: &mut Map<String, Value>, source: &Map<String, Value>) {
    let compat = source.get("x-sdk-compat").and_then(Value::as_str).unwrap_or_default();
    if compat.contains("the integer 1")
        && let Some(Value::Array(options)) = flat.get_mut("enum")
    {
        // The SDK numbers the kinds of service registries.
        options.push(json!(1));
        flat.remove("type");
    }
    if flat.get("type") == Some(&json!("string")) && flat.remove("minimum").is_some() {
        // A lower bound on a string compares the number it spells.
        flat.insert("pattern".into(), json!(ID_PATTERN));
    }
    if flat.get("type") == Some(&json!("integer")) {
        // A number such as 1e30 is one to JSON Schema, and to nobody else.
        flat.entry("minimum").or_insert_with(|| json!(i64::MIN));
        flat.entry("maximum").or_insert_with(|| json!(i64::MAX));
    }
    if source.get("nullable") == Some(&Value::Bool(true)) {
        if let Some(kind @ Value::String(_)) = flat.get_mut("type") {
            *kind = json!([kind, "null"]);
        }
        if let Some(Value::Array(options)) = flat.get_mut("enum") {
            options.push(Value::Null);
        }
    }
}

/// Both schemas at once: properties together, required of either, other keywords of the later.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) {
    for (key, value) in from {
        match (key.as_str(), into.get_mut(&key), value) {
            ("properties", Some(Value::Object(old)), Value::Object(new)) => {
                for (name, schema) in new {
                    match (old.get_mut(&name), schema) {
                        (Some(Value::Object(old)), Value::Object(schema)) => merge(old, schema),
                        (_, schema) => {
                            old.insert(name, schema);
                        }
                    }
                }
            }
            ("required", Some(Value::Array(old)), Value::Array(new)) => {
                old.extend(new);
                old.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
                old.dedup();
            }
            (_, _, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn map_values(value: &Value, change: impl Fn(&Value) -> Value) -> Value {
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), change(value))).collect(),
        Value::Array(list) => list.iter().map(change).collect(),
        other => other.clone(),
    }
}

/// The parameters of an operation as one object schema; `x-in` and `x-any-case` say how to read them.
pub fn of_params<'a>(parameters: impl Iterator<Item = &'a Value>) -> Value {
    let document = &super::contract().document;
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in parameters {
        let mut schema = flatten(document, &parameter["schema"]);
        schema["x-in"] = parameter["in"].clone();
        if parameter["x-case-insensitive"] == true {
            schema["x-any-case"] = json!(true);
        }
        if parameter["required"] == true {
            required.push(parameter["name"].clone());
        }
        if let Some(name) = parameter["name"].as_str() {
            properties.insert(name.to_owned(), schema);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_nullable_and_references_disappear() {
        let document = json!({ "components": { "schemas": {
            "Base": { "type": "object", "properties": { "a": { "type": "string" } } },
            "Whole": { "allOf": [
                { "$ref": "#/components/schemas/Base" },
                { "required": ["a"], "properties": { "b": { "type": "integer", "nullable": true } } }
            ] }
        } } });
        let flat = flatten(&document, &json!({ "$ref": "#/components/schemas/Whole" }));
        assert_eq!(
            flat,
            json!({ "type": "object", "required": ["a"], "properties": {
                "a": { "type": "string" },
                "b": { "type": ["integer", "null"], "minimum": i64::MIN, "maximum": i64::MAX }
            } })
        );
    }
}
