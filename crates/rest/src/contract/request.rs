//! One request against the rules of its operation: all of them, before any handler runs.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_model::{Error, ErrorCode, Result, Violation};
use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::Operation;
use super::normalize::normalize;
use crate::gate::is_form;

/// A request as it came.
pub struct Raw<'a> {
    pub path: &'a [(String, String)],
    pub query: &'a str,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// A request that keeps the contract.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// Path, query and header parameters by name, typed, with the contract's defaults.
    pub params: Value,
    /// `None` when there is no body, or when a handler has taken it.
    pub body: Option<Value>,
}

impl Operation {
    /// Checks parameters and body and answers with all broken rules at once.
    pub fn check(&self, raw: &Raw<'_>) -> Result<Checked> {
        let params = self.read_params(raw);
        let mut violations = self.params().violations(&params, "request");
        let body = self.read_body(raw)?;
        if let (Some(checker), Some(body)) = (self.body(), &body) {
            violations.extend(checker.violations(body, "body"));
        } else if self.body_is_required() {
            violations.push(Violation::new("body", "is required", ""));
        }
        if violations.is_empty() {
            return Ok(Checked { params, body });
        }
        Err(Error::invalid(&violations))
    }

    fn read_params(&self, raw: &Raw<'_>) -> Value {
        let query: Vec<(String, String)> =
            serde_urlencoded::from_str(raw.query).unwrap_or_default();
        let mut params = Map::new();
        for (name, schema) in self.params().schema()["properties"].as_object().into_iter().flatten()
        {
            let values = match schema["x-in"].as_str() {
                Some("path") => named(raw.path, name),
                Some("query") => named(&query, name),
                _ => header(raw.headers, name),
            };
            let default = &schema["default"];
            match read_param(schema, &values) {
                Some(value) => params.insert(name.clone(), value),
                None if !default.is_null() => params.insert(name.clone(), default.clone()),
                None => None,
            };
        }
        Value::Object(params)
    }

    fn read_body(&self, raw: &Raw<'_>) -> Result<Option<Value>> {
        let Some(checker) = self.body() else { return Ok(None) };
        if raw.body.is_empty() {
            return Ok(None);
        }
        if self.takes_forms() && is_form(raw.headers) {
            let fields: BTreeMap<String, String> =
                serde_urlencoded::from_bytes(raw.body).map_err(|_| not_a_form())?;
            return Ok(Some(json!(fields)));
        }
        let mut body: Value =
            serde_json::from_slice(raw.body).map_err(|reason| not_json(&reason))?;
        if let (Some(field), Value::Array(items)) = (self.bare_array(), &mut body) {
            body = json!({ field: std::mem::take(items) });
        }
        if let (true, Value::String(text)) = (self.takes_base64(), &body) {
            let inner = STANDARD.decode(text).map_err(|_| not_base64())?;
            body = serde_json::from_slice(&inner).map_err(|_| not_base64())?;
        }
        normalize(checker.schema(), &mut body);
        Ok(Some(body))
    }
}

fn not_a_form() -> Error {
    Error::new(ErrorCode::InvalidArgument, "the body is not what an HTML form sends")
}

fn not_json(reason: &serde_json::Error) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("the body is not valid JSON: {reason}"))
}

fn not_base64() -> Error {
    let example = json!({ "active": 0 }).to_string();
    Error::invalid_field(
        "body",
        "must be a JSON object, or a string that holds one in base64",
        example,
    )
}

fn named<'a>(pairs: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    pairs.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect()
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// The typed value of a parameter; a text that is not of the type stays a text, for the check to
/// refuse. `None` when the parameter is absent, or empty where empty says nothing.
fn read_param(schema: &Value, values: &[&str]) -> Option<Value> {
    let text = *values.first()?;
    let kind = schema["type"].as_str().unwrap_or("string");
    if kind == "array" {
        let items = values.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty());
        return Some(items.map(|text| json!(text)).collect());
    }
    let unset = text.is_empty() && (kind != "string" || schema["enum"].is_array());
    if schema["x-in"] != "path" && (unset || is_unset_id(schema, text)) {
        return None;
    }
    let typed = match kind {
        "integer" => text.parse::<i64>().ok().map(Value::from),
        "boolean" => text.parse::<bool>().ok().map(Value::from),
        _ if schema["x-any-case"] == true => any_case(schema, text),
        _ => None,
    };
    Some(typed.unwrap_or_else(|| json!(text)))
}

fn is_unset_id(schema: &Value, text: &str) -> bool {
    schema["pattern"] == super::schema::ID_PATTERN && matches!(text, "" | "0")
}

fn any_case(schema: &Value, text: &str) -> Option<Value> {
    let options = schema["enum"].as_array()?;
    let is_same = |option: &&Value| option.as_str().is_some_and(|o| o.eq_ignore_ascii_case(text));
    options.iter().find(is_same).cloned()
}

#[cfg(test)]
mod tests {
    use crate::contract::contract;

    use super::*;

    fn check(operation: &str, path: &[(&str, &str)], query: &str, body: &str) -> Result<Checked> {
        let path: Vec<_> = path.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let raw = Raw { path: &path, query, headers: &HeaderMap::new(), body: body.as_bytes() };
        contract().operation(operation).unwrap().check(&raw)
    }

    #[test]
    fn query_parameters_are_typed_and_have_defaults() {
        let path = [("cluster_id", "7")];
        let query = "page=2&direction=asc&labels=a,b&labels=c&page_size=&wait=applied";
        let params = check("listApplications", &path, query, "").unwrap().params;
        assert_eq!(
            params,
            json!({ "cluster_id": "7", "page": 2, "page_size": 10, "direction": "ASC",
                    "labels": ["a", "b", "c"], "active": "-1" })
        );
    }

    #[test]
    fn broken_parameters_are_named_together_with_broken_fields() {
        let path = [("cluster_id", "x7")];
        let error = check("listApplications", &path, "page=0&direction=up", "").unwrap_err();
        for part in ["`cluster_id` must match", "`page` must be at least 1", "one of ASC, DESC"] {
            assert!(error.message.contains(part), "{part}: {error}");
        }
        let error = check("createConsumer", &path, "", "{\"name\":\"a b\"}").unwrap_err();
        assert!(error.message.contains("`cluster_id`") && error.message.contains("`name`"));
    }

    #[test]
    fn a_base64_text_stands_for_its_object_where_the_sdk_sends_one() {
        let path = [("cluster_id", "7"), ("app_id", "8")];
        let checked = check("patchApplication", &path, "", "\"eyJhY3RpdmUiOjB9\"").unwrap();
        assert_eq!(checked.body, Some(json!({ "active": 0 })));
        assert!(check("patchApplication", &path, "", "\"§\"").is_err());
        assert!(check("createApplication", &path[..1], "", "\"eyJhY3RpdmUiOjB9\"").is_err());
    }

    #[test]
    fn a_bare_array_stands_for_its_object_where_the_sdk_sends_one() {
        let path = [("id", "7"), ("member_id", "8")];
        let body = r#"[{ "role_id": "5", "cluster_id": "0" }]"#;
        let checked = check("updateMember", &path, "", body).unwrap();
        assert_eq!(checked.body, Some(json!({ "role_bindings": [{ "role_id": "5" }] })));
        assert!(check("createMember", &path[..1], "", body).is_err());
    }

    #[test]
    fn a_missing_or_null_body_is_refused() {
        for body in ["", "null", "[]", "{"] {
            let error = check("createOrganization", &[], "", body).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{body}");
        }
    }
}
