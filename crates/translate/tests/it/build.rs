//! Resources to try things with, and what they become.

use gantry_model::Id;
use gantry_model::config::{ApiSpec, ApplicationSpec};
use gantry_translate::{Keys, Surroundings, api, application};
use serde_json::{Value, json};

pub fn id(number: i64) -> Id {
    Id::new(number).expect("a positive number")
}

/// A resource from what a caller would send.
pub fn spec<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("a valid resource")
}

/// `base` with the fields of `change` in place of its own.
pub fn changed(mut base: Value, change: &Value) -> Value {
    for (field, value) in change.as_object().expect("a change is an object") {
        base[field] = value.clone();
    }
    base
}

/// The document at `key`.
pub fn value(keys: &Keys, key: &str) -> Value {
    let text = keys.get(key).unwrap_or_else(|| panic!("no {key} in {keys:?}"));
    serde_json::from_str(text).expect("a document is JSON")
}

/// The application of the examples, with `change` in place of its fields.
pub fn orders(change: &Value) -> ApplicationSpec {
    let orders = json!({
        "name": "orders",
        "description": "order system",
        "labels": ["team-a"],
        "hosts": ["api.example.com", "*.Orders.example.com", "API.example.com"],
        "path_prefix": "/api/",
        "protocols": ["HTTP", "HTTPS"],
        "upstreams": [
            { "version": "default", "upstream": {
                "scheme": "http",
                "targets": [
                    { "host": "10.0.0.11", "port": 8080, "weight": 100 },
                    { "host": "10.0.0.12", "port": 8080, "weight": 50 },
                ],
                "retries": 2,
                "timeout": { "connect": 5 },
            } },
            { "version": "v2", "upstream": {
                "scheme": "http",
                "targets": [{ "host": "10.0.1.11", "port": 8080, "weight": 100 }],
            } },
        ],
        "plugins": { "cors": { "allow_origins": "https://shop.example.com" } },
    });
    spec(changed(orders, change))
}

/// An API with one path, with `change` in place of its fields.
pub fn an_api(change: &Value) -> ApiSpec {
    spec(changed(json!({ "name": "list-orders", "paths": [{ "path": "/v1/orders" }] }), change))
}

/// An application with one upstream, with `change` in place of the upstream's fields.
pub fn with_upstream(change: &Value) -> ApplicationSpec {
    let target = json!({ "host": "10.0.0.11", "port": 8080, "weight": 1 });
    let upstream = changed(json!({ "scheme": "http", "targets": [target] }), change);
    orders(&json!({ "upstreams": [{ "version": "default", "upstream": upstream }] }))
}

/// The route of an API of `parent`.
pub fn route(parent: &ApplicationSpec, change: &Value) -> Value {
    value(
        &api(id(2001), id(1001), parent, &an_api(change), &Surroundings::NONE),
        "/apisix/routes/2001",
    )
}

/// The service of the examples' application.
pub fn service(change: &Value) -> Value {
    value(&application(id(1001), &orders(change), &Surroundings::NONE), "/apisix/services/1001")
}

/// The upstream of [`with_upstream`].
pub fn upstream(change: &Value) -> Value {
    let keys = application(id(1001), &with_upstream(change), &Surroundings::NONE);
    value(&keys, "/apisix/upstreams/1001.37a8eec1ce19")
}
