//! What others refer to: log collections and service registries, of which there are few.

use gantry_model::Id;
use gantry_model::config::{LogCollectionSpec, LoggerType, ServiceRegistrySpec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::text;
use crate::Surroundings;

/// Log collections there may be: few, so that they are often bound. Each keeps its type for life,
/// so that any two of different types go together.
const COLLECTIONS: [(i64, LoggerType); 3] =
    [(1, LoggerType::HttpLogger), (2, LoggerType::KafkaLogger), (3, LoggerType::HttpLogger)];

/// Service registries there may be.
pub(super) const REGISTRIES: [i64; 3] = [11, 12, 13];

pub(super) fn some_id(number: i64) -> Id {
    Id::new(number).expect("a positive number")
}

/// One of a few log collections.
pub fn log_collection() -> impl Strategy<Value = (Id, LogCollectionSpec)> {
    let format = select(vec![json!({ "at": "$time_iso8601" }), json!({ "host": "$host" })]);
    (select(COLLECTIONS.to_vec()), text(), 1..9_u8, of(format)).prop_map(
        |((number, kind), description, timeout, format)| {
            let mut spec = match kind {
                LoggerType::HttpLogger => {
                    json!({ "uri": "http://logs:9000", "auth_header": "s3cret" })
                }
                LoggerType::KafkaLogger => json!({
                    "brokers": [{ "host": "kafka", "port": 9092 }], "kafka_topic": "access"
                }),
            };
            spec["timeout"] = json!(timeout);
            if let Some(format) = format {
                spec["log_format"] = format;
            }
            let spec = spec.as_object().cloned().unwrap_or_default();
            let name = format!("collection_{number}");
            (some_id(number), LogCollectionSpec { name, description, kind, spec })
        },
    )
}

/// One of a few service registries, in use or not.
pub fn service_registry() -> impl Strategy<Value = (Id, ServiceRegistrySpec)> {
    let token = select(vec![
        json!({ "service_account_token_value": "s3cret" }),
        json!({ "service_account_token_file": "/var/run/secrets/token" }),
    ]);
    let namespaces = select(vec![
        Value::Null,
        json!({ "operator": "equal", "patterns": ["shop"] }),
        json!({ "operator": "not_match", "patterns": ["^kube-", "test$"] }),
    ]);
    let labels = subsequence(
        vec![
            json!({ "key": "app", "operator": "equal", "value": "shop" }),
            json!({ "key": "tier", "operator": "in", "value": "a,b" }),
            json!({ "key": "old", "operator": "not_exists" }),
        ],
        0..=3,
    );
    let parts = (select(REGISTRIES.to_vec()), any::<bool>(), token, namespaces, labels);
    parts.prop_map(|(number, enabled, mut kubernetes, namespaces, labels)| {
        kubernetes["api_server"] = json!({ "host": "10.0.0.1", "port": 6443 });
        kubernetes["namespace_selector"] = namespaces;
        kubernetes["endpoints_label_selectors"] = json!(labels);
        let spec = json!({ "name": format!("registry_{number}"), "type": "kubernetes",
            "enabled": enabled, "kubernetes": kubernetes });
        (some_id(number), serde_json::from_value(spec).expect("a registry"))
    })
}

/// The surroundings in which all resources of these strategies are valid.
#[must_use]
pub fn surroundings() -> Surroundings {
    let collection = |(number, kind): (i64, LoggerType)| {
        let spec = match kind {
            LoggerType::HttpLogger => json!({ "uri": "http://logs:9000" }),
            LoggerType::KafkaLogger => json!({
                "brokers": [{ "host": "kafka", "port": 9092 }], "kafka_topic": "access"
            }),
        };
        let spec = spec.as_object().cloned().unwrap_or_default();
        let name = format!("collection_{number}");
        (some_id(number), LogCollectionSpec { name, description: String::new(), kind, spec })
    };
    Surroundings {
        log_collections: COLLECTIONS.map(collection).into(),
        service_registries: REGISTRIES.map(|number| (some_id(number), true)).into(),
        ..Surroundings::default()
    }
}

/// Log collections of different types, bound in one of the ways there are.
pub(super) fn logging() -> impl Strategy<Value = (&'static str, Value)> {
    let ids = (of(select(vec!["1", "3"])), of(Just("2")));
    let form = select(vec!["logging", "disabled", "log_collections"]);
    (ids, form).prop_map(|((http, kafka), form)| {
        let ids: Vec<&str> = http.into_iter().chain(kafka).collect();
        match form {
            "log_collections" => (form, json!(ids)),
            "logging" => (form, json!({ "log_collections": ids })),
            _ => ("logging", json!({ "log_collections": ids, "_meta": { "disable": true } })),
        }
    })
}
