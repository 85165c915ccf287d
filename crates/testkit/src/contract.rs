//! Checks answers of the management API against `api/openapi.yaml` and what `api/gantry.yaml` adds.
//!
//! Reads the contract on its own, so that a mistake of the server's reading does not hide itself.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value, json};

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let contract = include_str!("../../../api/openapi.yaml");
    let additions = include_str!("../../../api/gantry.yaml");
    let mut whole: Value = serde_norway::from_str(contract).expect("openapi.yaml is YAML");
    extend(&mut whole, serde_norway::from_str(additions).expect("gantry.yaml is YAML"));
    adapted(&whole)
});

/// Adds to objects key by key and replaces everything else.
fn extend(whole: &mut Value, more: Value) {
    match more {
        Value::Object(more) if whole.is_object() => {
            for (key, value) in more {
                extend(&mut whole[key], value);
            }
        }
        more => *whole = more,
    }
}

/// The schema of an answer, for `method` and a concrete `path` with or without a query.
///
/// # Panics
/// When the contract has no such operation, or the answer does not fit its schema.
pub fn check_answer(method: &str, path: &str, status: u16, answer: &Value) {
    let path = path.split('?').next().unwrap_or(path);
    let Some(operation) = operation(method, path) else {
        panic!("the contract has no operation {method} {path}");
    };
    let responses = &operation["responses"];
    let response = responses.get(status.to_string()).unwrap_or(&responses["default"]);
    let response = match response["$ref"].as_str() {
        Some(reference) => DOCUMENT.pointer(&reference[1..]).expect("a known response"),
        None => response,
    };
    let schema = &response["content"]["application/json"]["schema"];
    let broken: Vec<String> = validator(schema)
        .iter_errors(answer)
        .map(|error| format!("  {}: {error}", error.instance_path()))
        .collect();
    let id = &operation["operationId"];
    assert!(
        broken.is_empty(),
        "the answer {status} to {method} {path} ({id}) does not fit the contract:\n{}\n{answer:#}",
        broken.join("\n")
    );
}

/// The operation that answers a concrete path; literal segments win over parameters.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object()?;
    let mut found: Vec<(usize, &Value)> = Vec::new();
    for (template, methods) in paths {
        for (name, operation) in methods.as_object()? {
            let own = std::iter::once((name.as_str(), template.as_str()));
            let also = operation["x-accept-also"].as_array().into_iter().flatten();
            let also = also.filter_map(|text| text.as_str()?.split_once(' '));
            found.extend(own.chain(also).filter_map(|(name, template)| {
                let parameters = fit(template, path)?;
                name.eq_ignore_ascii_case(method).then_some((parameters, operation))
            }));
        }
    }
    found.into_iter().min_by_key(|(parameters, _)| *parameters).map(|(_, operation)| operation)
}

/// How many parameters `template` needs to become `path`; `None` when it cannot.
fn fit(template: &str, path: &str) -> Option<usize> {
    let (template, path) = (template.split('/'), path.split('/'));
    if template.clone().count() != path.clone().count() {
        return None;
    }
    let mut parameters = 0;
    for (wanted, given) in template.zip(path) {
        if wanted.starts_with('{') {
            parameters += 1;
        } else if wanted != given {
            return None;
        }
    }
    Some(parameters)
}

fn validator(schema: &Value) -> Validator {
    let root = json!({ "components": DOCUMENT["components"], "allOf": [schema] });
    jsonschema::options()
        .should_validate_formats(true)
        .build(&root)
        .expect("schemas of the contract compile")
}

/// OpenAPI 3.0 in the words of JSON Schema: `nullable` becomes a type.
fn adapted(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(adapted).collect(),
        Value::Object(fields) => {
            let mut fields: Map<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), adapted(value))).collect();
            if fields.get("nullable") == Some(&Value::Bool(true))
                && let Some(kind) = fields.get("type").filter(|kind| kind.is_string()).cloned()
            {
                fields.insert("type".into(), json!([kind, "null"]));
            }
            Value::Object(fields)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fitting_answer_passes() {
        let answer = json!({ "status": { "code": 0, "message": "OK" }, "payload": {
            "id": "7", "name": "a", "created_at": "2023-03-28T06:43:14.598333Z",
            "updated_at": "2023-03-28T06:43:14.598333Z", "plan_id": "1", "owner_id": "u",
            "subscription_started_at": null
        } });
        check_answer("GET", "/api/v1/orgs/7?page=1", 200, &answer);
    }

    #[test]
    #[should_panic(expected = "/payload/id")]
    fn a_number_as_an_id_does_not() {
        let answer = json!({ "status": { "code": 0, "message": "OK" }, "payload": { "id": 7 } });
        check_answer("GET", "/api/v1/orgs/7", 200, &answer);
    }

    #[test]
    fn literal_segments_and_other_spellings_are_found() {
        let init = operation("PUT", "/api/v1/orgs/init").unwrap();
        assert_eq!(init["operationId"], "initializeOrganization");
        let logout = operation("GET", "/api/v1/user/logout").unwrap();
        assert_eq!(logout["operationId"], "logout");
    }
}
