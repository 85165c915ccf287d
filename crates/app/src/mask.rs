//! What answers and the audit show instead of secrets, and how a mask that comes back is undone.

use gantry_model::config::{ConsumerSpec, Plugins};
use gantry_model::{Error, Result};
use gantry_routing::plugin::{self, Role};
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
    spec.plugins = plugins(spec.plugins);
    spec
}

/// Plugin configurations as answers and the audit show them: the secrets that the plugin's catalog
/// entry names are masked, and for groups that APISIX does not know, those that sound like one.
pub(crate) fn plugins(mut plugins: Plugins) -> Plugins {
    for (name, config) in &mut plugins {
        let Some(config) = config.as_object_mut() else { continue };
        if plugin::get(name).is_some() {
            mask_plugin(name, Role::Switch, config);
        } else {
            mask_fields(config);
        }
    }
    plugins
}

/// Metadata of a plugin as answers and the audit show it.
pub(crate) fn metadata(name: &str, mut metadata: Map<String, Value>) -> Map<String, Value> {
    mask_plugin(name, Role::Metadata, &mut metadata);
    metadata
}

/// Masks the secrets of one plugin's configuration.
pub(crate) fn plugin(name: &str, config: &mut Map<String, Value>) {
    mask_plugin(name, Role::Switch, config);
}

/// Puts stored values back wherever `written` holds the mask and `stored` a text in the same place.
pub(crate) fn restore(written: &mut Map<String, Value>, stored: &Map<String, Value>) {
    for (name, value) in written {
        if let Some(known) = stored.get(name) {
            put_back(value, known);
        }
    }
}

fn put_back(written: &mut Value, stored: &Value) {
    match (written, stored) {
        (Value::Object(written), Value::Object(stored)) => restore(written, stored),
        (Value::Array(written), Value::Array(stored)) => {
            written.iter_mut().zip(stored).for_each(|(value, known)| put_back(value, known));
        }
        (Value::String(text), Value::String(secret)) if text == MASK => secret.clone_into(text),
        _ => {}
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

/// A served document as people may see it: the same bytes, but that private keys are left out and
/// other secrets masked.
pub(crate) fn served(key: &str, text: &str) -> Result<String> {
    let mut value: Value = serde_json::from_str(text).map_err(Error::internal)?;
    let Some(fields) = value.as_object_mut() else { return Ok(text.to_owned()) };
    let mut parts = key.trim_start_matches("/apisix/").splitn(2, '/');
    let (directory, id) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match directory {
        "ssls" => {
            fields.remove("key");
            fields.remove("keys");
        }
        "plugin_metadata" => mask_plugin(id, Role::Metadata, fields),
        _ => {
            let role = if directory == "consumers" { Role::Consumer } else { Role::Switch };
            if let Some(plugins) = fields.get_mut("plugins").and_then(Value::as_object_mut) {
                for (name, config) in plugins {
                    config.as_object_mut().into_iter().for_each(|own| mask_plugin(name, role, own));
                }
            }
        }
    }
    for (group, secret) in [("tls", "client_key"), ("client", "token")] {
        if let Some(group) = fields.get_mut(group).and_then(Value::as_object_mut) {
            group.remove(secret);
        }
    }
    Ok(value.to_string())
}

fn mask_plugin(name: &str, role: Role, config: &mut Map<String, Value>) {
    plugin::visit_secrets(name, role, config, |secret| *secret = Value::from(MASK));
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_masked_comes_back_when_the_mask_is_written() {
        let stored = json!({
            "openid-connect": { "client_id": "a", "client_secret": "hush", "discovery": "https://x" },
            "limit-count": { "count": 1, "redis_password": "hush" },
            "authentication": { "type": "openid-connect", "client_secret": "hush" },
        });
        let Value::Object(stored) = stored else { unreachable!("an object") };
        let mut shown = plugins(stored.clone());
        assert!(!Value::Object(shown.clone()).to_string().contains("hush"));
        assert_eq!(shown["openid-connect"]["client_id"], "a");
        restore(&mut shown, &stored);
        assert_eq!(shown, stored);
    }
}
