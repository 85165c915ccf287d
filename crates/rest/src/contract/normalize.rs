//! Brings a request body into the contract's form before it is checked: clients send whole objects
//! with zero values, nulls and fields that are not theirs to set (contract, `x-sdk-compat`).

use serde_json::{Map, Value};

use super::schema::ID_PATTERN;

/// Zero time of the Go SDK, up to the second.
const ZERO_TIME: &str = "0001-01-01T00:00:00";

/// Drops what counts as absent (null, the id "0", the zero time) and what `schema` does not know.
pub fn normalize(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => normalize_object(schema, fields),
        Value::Array(items) => items.iter_mut().for_each(|item| normalize(&schema["items"], item)),
        _ => {}
    }
}

fn normalize_object(schema: &Value, fields: &mut Map<String, Value>) {
    // An object schema that names no property is free-form.
    let Some(known) = schema["properties"].as_object().filter(|known| !known.is_empty()) else {
        let rest = &schema["additionalProperties"];
        fields.values_mut().for_each(|value| normalize(rest, value));
        return;
    };
    let rest = &schema["additionalProperties"];
    let open = *rest == true || rest.is_object();
    fields.retain(|name, value| match known.get(name) {
        Some(schema) => !is_absent(schema, value),
        None => open,
    });
    for (name, value) in fields {
        normalize(known.get(name).unwrap_or(rest), value);
    }
}

fn is_absent(schema: &Value, value: &Value) -> bool {
    match value {
        Value::Null => !accepts_null(schema),
        Value::String(text) if text == "0" => schema["pattern"] == ID_PATTERN,
        Value::String(text) if text.starts_with(ZERO_TIME) => schema["format"] == "date-time",
        _ => false,
    }
}

fn accepts_null(schema: &Value) -> bool {
    match &schema["type"] {
        Value::Array(types) => types.iter().any(|kind| kind == "null"),
        Value::String(_) => false,
        _ => schema.as_object().is_none_or(|schema| !schema.contains_key("anyOf")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::contract::contract;

    use super::*;

    fn normalized(operation: &str, mut body: Value) -> Value {
        let operation = contract().operation(operation).unwrap();
        normalize(operation.body().unwrap().schema(), &mut body);
        body
    }

    #[test]
    fn whole_objects_of_the_sdk_lose_what_is_not_theirs_to_set() {
        let body = json!({
            "id": "0", "cluster_id": "0", "status": 0, "created_at": "0001-01-01T00:00:00Z",
            "available_cert_ids": null, "name": "shop", "hosts": null, "labels": null,
            "upstreams": [{ "version": "v1", "client_cert_id": "0", "upstream": {
                "scheme": "http", "targets": null, "checks": { "active": {
                    "type": "tcp", "http": null, "tcp": { "healthy": { "successes": 2 } } } } } }],
            "plugins": { "cors": { "allow_origins": null } }
        });
        assert_eq!(
            normalized("createApplication", body),
            json!({
                "name": "shop",
                "upstreams": [{ "version": "v1", "upstream": {
                    "scheme": "http", "checks": { "active": {
                        "type": "tcp", "http": null, "tcp": { "healthy": { "successes": 2 } } } } } }],
                "plugins": { "cors": { "allow_origins": null } }
            })
        );
    }

    #[test]
    fn null_stays_where_the_contract_gives_it_a_meaning() {
        let body = json!({ "name": "a", "credentials": null, "plugins": null });
        let expected = json!({ "name": "a", "credentials": null });
        assert_eq!(normalized("createConsumer", body), expected);
    }

    #[test]
    fn null_methods_are_absent() {
        let body = json!({ "name": "a", "methods": null, "app_id": "0" });
        assert_eq!(normalized("patchAPI", body), json!({ "name": "a" }));
    }
}
