//! A service registry: what a gateway is told to look backends up in. Stock APISIX reads this in its
//! start-up file only, our own gateway under a key.

use gantry_model::Id;
use gantry_model::config::ServiceRegistrySpec;
use gantry_model::config::service_registry::{ApiServer, LabelSelector, NamespaceSelector};
use gantry_model::config::upstream::{Scheme, ServiceDiscovery};
use serde_json::{Value, json};

use crate::Keys;
use crate::document::{Directory, Document};

/// What stands where nothing is said about the API server: APISIX reads the environment of its pod.
const POD_HOST: &str = "${KUBERNETES_SERVICE_HOST}";
const POD_PORT: &str = "${KUBERNETES_SERVICE_PORT}";

/// The document of a registry; nothing while it is switched off.
#[must_use]
pub fn service_registry(id: Id, spec: &ServiceRegistrySpec) -> Keys {
    let mut keys = Keys::new();
    if spec.enabled {
        definition(id, spec).store(&mut keys, Directory::ClusterRegistries, id);
    }
    keys
}

/// The entry of a registry in the list `discovery.kubernetes` of a start-up file.
#[must_use]
pub fn startup_registry(id: Id, spec: &ServiceRegistrySpec) -> Value {
    Value::Object(definition(id, spec).into_map())
}

fn definition(id: Id, spec: &ServiceRegistrySpec) -> Document {
    let kubernetes = &spec.kubernetes;
    let mut document = Document::with_id(&id);
    document.put("service", service(&kubernetes.api_server));
    let client = if kubernetes.service_account_token_value.is_empty() {
        json!({ "token_file": kubernetes.service_account_token_file })
    } else {
        json!({ "token": kubernetes.service_account_token_value })
    };
    document.put("client", client);
    document.put_some(
        "namespace_selector",
        kubernetes.namespace_selector.as_ref().and_then(namespace_selector),
    );
    let labels: Vec<String> =
        kubernetes.endpoints_label_selectors.iter().map(label_selector).collect();
    document.put_text("label_selector", &labels.join(","));
    document
}

fn service(server: &ApiServer) -> Value {
    let schema = match server.scheme {
        Some(Scheme::Http) => "http",
        Some(Scheme::Https) | None => "https",
    };
    let host = if server.host.is_empty() { POD_HOST } else { &server.host };
    let port = server.port.map_or_else(|| POD_PORT.to_owned(), |port| port.to_string());
    json!({ "schema": schema, "host": host, "port": port })
}

fn namespace_selector(selector: &NamespaceSelector) -> Option<Value> {
    let NamespaceSelector { operator, patterns } = selector;
    match operator.as_str() {
        "equal" | "not_equal" => patterns.first().map(|name| json!({ operator.as_str(): name })),
        "match" | "not_match" => Some(json!({ operator.as_str(): patterns })),
        _ => None,
    }
}

fn label_selector(selector: &LabelSelector) -> String {
    let LabelSelector { key, operator, value } = selector;
    match operator.as_str() {
        "not_equal" | "!=" => format!("{key}!={value}"),
        "in" => format!("{key} in ({value})"),
        "notin" => format!("{key} notin ({value})"),
        "exists" => key.clone(),
        "not_exists" => format!("!{key}"),
        _ => format!("{key}={value}"),
    }
}

/// Name under which a gateway asks for a service.
pub fn service_name(discovery: &ServiceDiscovery) -> String {
    let service = &discovery.kubernetes_service;
    let registry = discovery.service_registry_id;
    format!("{registry}/{}/{}:{}", service.namespace, service.name, service.port)
}
