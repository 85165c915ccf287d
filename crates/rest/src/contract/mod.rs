//! The contract, executed: `api/openapi.yaml` with Gantry's additions, indexed by operation.
//!
//! Every rule a request has to keep is read from here; no handler repeats one.

mod check;
mod example;
mod normalize;
mod request;
mod schema;

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use gantry_app::access::{self, Scope};
use http::Method;
use serde_json::{Value, json};

pub use check::Checker;
pub use example::example;
pub use request::{Checked, Raw};
pub use schema::resolve;

const OPENAPI: &str = include_str!("../../../../api/openapi.yaml");
const ADDITIONS: &str = include_str!("../../../../api/gantry.yaml");

/// The parsed document and its operations by id.
pub struct Contract {
    pub document: Value,
    operations: BTreeMap<String, Operation>,
}

/// One operation: where it is reached and what it takes.
pub struct Operation {
    pub id: String,
    /// Method and path; the contract's own spelling first, then those it accepts also.
    pub spellings: Vec<(Method, String)>,
    spec: Value,
    params: OnceLock<Checker>,
    body: OnceLock<Option<Checker>>,
}

/// The contract of this build.
///
/// # Panics
/// Only if the embedded documents are broken, which the tests of this module rule out.
pub fn contract() -> &'static Contract {
    static CONTRACT: LazyLock<Contract> = LazyLock::new(|| {
        let mut document: Value = serde_norway::from_str(OPENAPI).expect("openapi.yaml is YAML");
        let additions: Value = serde_norway::from_str(ADDITIONS).expect("gantry.yaml is YAML");
        merge(&mut document, additions);
        offer_parameters(&mut document);
        open_public_operations(&mut document);
        Contract::new(document)
    });
    &CONTRACT
}

/// Objects merge key by key, anything else is replaced.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// Query parameter of every write: check it in full, tell what it would do, change nothing.
pub const DRY_RUN: &str = "dry_run";

/// Query parameter of writes to the configuration of a cluster: names of plugins, with commas, that
/// gateways may leave out if they do not run them.
pub const OPTIONAL_PLUGINS: &str = "optional_plugins";

/// Query parameters of writes to the configuration of a cluster: answer when gateways have applied
/// it, how many of them, and how long to wait at most.
pub const WAIT: &str = "wait";
pub const NODES: &str = "nodes";
pub const TIMEOUT: &str = "timeout";

/// Lets every operation that writes take `dry_run`, and those within clusters `optional_plugins` and
/// `wait`.
fn offer_parameters(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (method, operation) in paths.flat_map(|(_, path)| path.as_object_mut()).flatten() {
        let id = operation["operationId"].as_str().and_then(access::rule);
        let Some(rule) = id.filter(|_| method != "get") else { continue };
        let offered: &[&str] = match rule.scope {
            Scope::Public | Scope::Gateway => continue,
            Scope::Cluster | Scope::Application => {
                &["DryRun", "OptionalPlugins", "Wait", "WaitNodes", "WaitTimeout"]
            }
            _ => &["DryRun"],
        };
        let list = operation.as_object_mut().map(|fields| fields.entry("parameters"));
        let list = list.map(|list| list.or_insert_with(|| json!([])));
        if let Some(list) = list.and_then(Value::as_array_mut) {
            let parameter = |name| json!({ "$ref": format!("#/components/parameters/{name}") });
            list.extend(offered.iter().map(parameter));
        }
    }
}

/// Says of operations that anybody may call that they need no token.
fn open_public_operations(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, operation) in paths.flat_map(|(_, path)| path.as_object_mut()).flatten() {
        let rule = operation["operationId"].as_str().and_then(access::rule);
        if rule.is_some_and(|rule| rule.scope == Scope::Public)
            && let Some(fields) = operation.as_object_mut()
        {
            fields.entry("security").or_insert_with(|| json!([]));
        }
    }
}

impl Contract {
    fn new(document: Value) -> Self {
        let mut operations = BTreeMap::new();
        let paths = document["paths"].as_object().into_iter().flatten();
        for (path, methods) in paths {
            for (method, spec) in methods.as_object().into_iter().flatten() {
                if let Some(operation) = Operation::new(method, path, spec) {
                    operations.insert(operation.id.clone(), operation);
                }
            }
        }
        Self { document, operations }
    }

    /// All operations, in the order of their ids.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.operations.values()
    }

    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Operation> {
        self.operations.get(id)
    }
}

impl Operation {
    fn new(method: &str, path: &str, spec: &Value) -> Option<Self> {
        let id = spec["operationId"].as_str()?.to_owned();
        let also = spec["x-accept-also"].as_array().into_iter().flatten();
        let also = also.filter_map(Value::as_str).filter_map(|text| text.split_once(' '));
        let spellings = std::iter::once((method, path))
            .chain(also)
            .filter_map(|(method, path)| Some((parse_method(method)?, path.to_owned())))
            .collect();
        Some(Self {
            id,
            spellings,
            spec: spec.clone(),
            params: OnceLock::new(),
            body: OnceLock::new(),
        })
    }

    /// The contract's own path, such as `/api/v1/orgs/{id}`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.spellings.first().map_or("", |(_, path)| path)
    }

    /// The contract's own method.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.spellings.first().map_or(&Method::GET, |(method, _)| method)
    }

    /// Rules of the path, query and header parameters, as one object keyed by name.
    pub fn params(&self) -> &Checker {
        self.params.get_or_init(|| Checker::new(schema::of_params(self.parameters())))
    }

    /// Rules of the body; `None` when the operation takes none.
    pub fn body(&self) -> Option<&Checker> {
        let checker = self.body.get_or_init(|| {
            let schema = self.spec.pointer("/requestBody/content/application~1json/schema")?;
            Some(Checker::new(schema::flatten(&contract().document, schema)))
        });
        checker.as_ref()
    }

    /// Whether a request without a body is refused.
    #[must_use]
    pub fn body_is_required(&self) -> bool {
        self.spec.pointer("/requestBody/required") == Some(&Value::Bool(true))
    }

    /// Whether HTML forms may be sent, besides JSON of the same fields.
    #[must_use]
    pub fn takes_forms(&self) -> bool {
        self.spec.pointer("/requestBody/content/application~1x-www-form-urlencoded").is_some()
    }

    /// The field whose array the SDK sends in the place of the whole body.
    fn bare_array(&self) -> Option<&str> {
        let compat = self.spec["x-sdk-compat"].as_str().unwrap_or_default();
        let field = self.body()?.schema()["required"][0].as_str();
        field.filter(|_| compat.contains("bare array"))
    }

    /// The SDK sends the body of some operations as a JSON string that holds base64 of JSON.
    fn takes_base64(&self) -> bool {
        self.spec["x-sdk-compat"].as_str().is_some_and(|text| text.contains("base64"))
    }

    fn parameters(&self) -> impl Iterator<Item = &Value> {
        let list = self.spec["parameters"].as_array().into_iter().flatten();
        list.map(|parameter| resolve(&contract().document, parameter))
    }
}

fn parse_method(text: &str) -> Option<Method> {
    Some(match text.to_ascii_uppercase().as_str() {
        "GET" => Method::GET,
        "POST" => Method::POST,
        "PUT" => Method::PUT,
        "PATCH" => Method::PATCH,
        "DELETE" => Method::DELETE,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_compiles() {
        let contract = contract();
        let written = [OPENAPI, ADDITIONS].map(|text| text.matches("operationId: ").count());
        assert_eq!(contract.operations().count(), written.iter().sum::<usize>());
        for operation in contract.operations() {
            operation.params();
            operation.body();
        }
    }

    #[test]
    fn other_spellings_are_indexed() {
        let logout = contract().operation("logout").unwrap();
        assert_eq!(logout.spellings.len(), 2);
        assert_eq!(logout.spellings[1], (Method::GET, "/api/v1/user/logout".to_owned()));
    }

    /// Every part of `original` is in `merged`; lists may have grown at their end.
    fn contains(merged: &Value, original: &Value) -> bool {
        match (merged, original) {
            (Value::Object(merged), Value::Object(original)) => original
                .iter()
                .all(|(key, value)| merged.get(key).is_some_and(|found| contains(found, value))),
            (Value::Array(merged), Value::Array(original)) => {
                merged.len() >= original.len()
                    && merged.iter().zip(original).all(|(found, value)| contains(found, value))
            }
            (merged, original) => merged == original,
        }
    }

    #[test]
    fn additions_take_nothing_away() {
        let mut original: Value = serde_norway::from_str(OPENAPI).unwrap();
        // The contract's own note asks to accept `broker_list` in the place of `brokers`.
        let kafka = original.pointer_mut("/components/schemas/KafkaLoggerSpec").unwrap();
        assert!(kafka.to_string().contains("accept it too"));
        kafka["required"] = json!(["kafka_topic"]);
        assert!(contains(&contract().document, &original));
        assert!(!contains(&original, &contract().document));
    }

    #[test]
    fn writes_offer_a_dry_run_and_reads_do_not() {
        let has = |id: &str| {
            let operation = contract().operation(id).unwrap();
            operation.params().schema()["properties"].get(DRY_RUN).is_some()
        };
        assert!(has("createApplication") && has("deleteMember") && has("updateCurrentUser"));
        assert!(!has("getApplication") && !has("login") && !has("reportHeartbeat"));
    }
}
