//! What answers and the audit show instead of secrets, and how a mask that comes back is undone.

use gantry_model::config::ConsumerSpec;
use serde_json::{Map, Value};

/// Stands for a secret that is stored.
pub const MASK: &str = "******";

/// Secret fields of credentials, by plugin.
const SECRETS: [(&str, &[&str]); 4] = [
    ("key-auth", &["key"]),
    ("basic-auth", &["password"]),
    ("hmac-auth", &["secret_key"]),
    ("jwt-auth", &["secret", "private_key"]),
];

fn secrets(plugin: &str) -> &'static [&'static str] {
    SECRETS.iter().find(|(name, _)| *name == plugin).map_or(&[], |(_, fields)| fields)
}

/// The consumer as answers and the audit show it.
pub(crate) fn consumer(mut spec: ConsumerSpec) -> ConsumerSpec {
    for (plugin, config) in &mut spec.credentials {
        let Some(config) = config.as_object_mut() else { continue };
        for field in secrets(plugin) {
            if let Some(secret) = config.get_mut(*field) {
                *secret = Value::from(MASK);
            }
        }
    }
    spec
}

/// Puts the stored secrets back where `spec` holds the mask.
pub(crate) fn restore(spec: &mut ConsumerSpec, stored: &ConsumerSpec) {
    for (plugin, config) in &mut spec.credentials {
        let Some(config) = config.as_object_mut() else { continue };
        for field in secrets(plugin) {
            let masked = config.get(*field).and_then(Value::as_str) == Some(MASK);
            let known = stored.credentials.get(plugin).and_then(|old| old.get(*field));
            if let (true, Some(known)) = (masked, known) {
                config.insert((*field).to_owned(), known.clone());
            }
        }
    }
}

/// Names of fields that hold secrets in the configurations of plugins.
const SECRET_WORDS: [&str; 7] =
    ["secret", "password", "private_key", "token", "authorization", "auth_header", "api_key"];

/// A document as the audit keeps it: secrets of plugin configurations masked, wherever they stand.
pub(crate) fn document(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        mask_fields(fields);
    }
    value
}

fn mask_fields(fields: &mut Map<String, Value>) {
    for (name, value) in fields {
        let name = name.to_lowercase();
        match value {
            Value::String(text) if SECRET_WORDS.iter().any(|word| name.contains(word)) => {
                MASK.clone_into(text);
            }
            Value::Object(inner) => mask_fields(inner),
            Value::Array(items) => {
                items.iter_mut().filter_map(Value::as_object_mut).for_each(mask_fields);
            }
            _ => {}
        }
    }
}
