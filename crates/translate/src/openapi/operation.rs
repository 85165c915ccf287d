//! Operations as APIs. A path without parameters is matched exactly; one with parameters by the
//! prefix up to the first of them, and a condition on the whole path.

use std::collections::BTreeSet;

use gantry_model::config::{
    ApiPath, ApiSpec, ApiType, Expression, Operator, PUBLISHED, PathType, Plugins, Relationship,
    RouteControl, Subject,
};
use gantry_routing::path::normalize;
use serde_json::Value;

use super::reference::resolve;
use super::{ImportedApi, OPERATIONS_MAX, description, name};
use crate::check::Report;
use crate::path::{quoted, trimmed};

/// The methods an operation may have.
const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// One API for each operation below an application's `prefix`.
pub fn read(document: &Value, prefix: &str, report: &mut Report) -> Vec<ImportedApi> {
    let mut apis = Vec::new();
    let mut taken = BTreeSet::new();
    let paths = match &document["paths"] {
        Value::Object(paths) => paths,
        Value::Null => return apis,
        _ => {
            report.broken("openapi.paths", "must be an object", "");
            return apis;
        }
    };
    for (template, item) in paths.iter().filter(|(template, _)| !template.starts_with("x-")) {
        let place = format!("openapi.paths.{template}");
        let item = match resolve(document, item) {
            Ok(item) if item.is_object() => item,
            Ok(_) => {
                report.broken(place, "must be an object", "");
                continue;
            }
            Err(rule) => {
                report.broken(format!("{place}.$ref"), rule, "");
                continue;
            }
        };
        let route = match route(template, prefix) {
            Ok(route) => route,
            Err(rule) => {
                report.broken(place, rule, "");
                continue;
            }
        };
        for method in METHODS {
            let Some(operation) = item.get(method) else { continue };
            if apis.len() == OPERATIONS_MAX {
                let rule = format!("must not hold more than {OPERATIONS_MAX} operations");
                report.broken("openapi.paths", rule, "");
                return apis;
            }
            let place = format!("{place}.{method}");
            match resolve(document, operation) {
                Ok(operation) if operation.is_object() => {
                    let method = method.to_ascii_uppercase();
                    let name = format!("{method} {template}");
                    let spec = spec(operation, &name, method, &route, &mut taken);
                    apis.push(ImportedApi { operation: name, place, spec });
                }
                Ok(_) => report.broken(place, "must be an object", ""),
                Err(rule) => report.broken(format!("{place}.$ref"), rule, ""),
            }
        }
    }
    apis
}

fn spec(
    operation: &Value,
    key: &str,
    method: String,
    route: &Route,
    taken: &mut BTreeSet<String>,
) -> ApiSpec {
    let id = operation["operationId"].as_str().map(str::trim).filter(|id| !id.is_empty());
    let name = name::free_name(id.unwrap_or(key), |name| taken.contains(name));
    taken.insert(name.clone());
    let texts = ["description", "summary"].map(|field| &operation[field]);
    let text = texts.into_iter().find(|text| text.as_str().is_some_and(|text| !text.is_empty()));
    let tags = operation["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    ApiSpec {
        name,
        description: description(text.unwrap_or(&Value::Null)),
        paths: vec![route.path.clone()],
        methods: vec![method],
        fine_grained_route_control: route.control.clone(),
        strip_path_prefix: false,
        plugins: Plugins::new(),
        labels: name::labels(tags),
        active: PUBLISHED,
        kind: ApiType::Rest,
    }
}

/// What a path template is matched by.
struct Route {
    path: ApiPath,
    control: Option<RouteControl>,
}

fn route(template: &str, prefix: &str) -> Result<Route, &'static str> {
    const UNPAIRED: &str = "must not hold a brace without its partner";
    if !template.starts_with('/') {
        return Err("must start with `/`");
    }
    if template.contains(['?', '#']) {
        return Err("must not hold a query or a fragment");
    }
    let lower = template.to_ascii_lowercase();
    if lower.contains("%7b") || lower.contains("%7d") {
        return Err("must not hold encoded braces");
    }
    let path = normalize(template).map_err(|_| "must be a valid path")?;
    let literal = path.split('{').next().unwrap_or_default();
    let mut regex = format!("^{}", quoted(trimmed(prefix)));
    let mut rest = path.as_ref();
    while let Some((before, behind)) = rest.split_once('{') {
        let (parameter, after) = behind.split_once('}').ok_or(UNPAIRED)?;
        if before.contains('}') || parameter.contains(['{', '/']) {
            return Err(UNPAIRED);
        }
        regex += &quoted(before);
        regex += "[^/]+";
        rest = after;
    }
    if rest.contains('}') {
        return Err(UNPAIRED);
    }
    if literal.len() == path.len() {
        let path = ApiPath { path: path.into_owned(), path_type: PathType::Exact };
        return Ok(Route { path, control: None });
    }
    regex += &quoted(rest);
    regex.push('$');
    let condition = Expression {
        subject: Subject::Path,
        name: String::new(),
        operator: Operator::RegexMatch,
        value: regex,
    };
    let control = RouteControl {
        enabled: true,
        logical_relationship: Relationship::All,
        expressions: vec![condition],
    };
    let path = ApiPath { path: literal.to_owned(), path_type: PathType::Prefix };
    Ok(Route { path, control: Some(control) })
}
