//! A consumer, with its credentials among its plugins as APISIX has them.

use gantry_model::Id;
use gantry_model::config::ConsumerSpec;
use serde_json::{Map, Value};

use crate::document::{Directory, Document, description, labels};
use crate::{Keys, Surroundings, plugins};

/// The document of a consumer. Its key holds the name, which is unique in the cluster and fixed.
#[must_use]
pub fn consumer(_id: Id, spec: &ConsumerSpec, around: &Surroundings) -> Keys {
    let mut keys = Keys::new();
    let mut document = Document::new();
    document.put("username", spec.name.as_str());
    document.put_text("desc", &description(&spec.description));
    document.put_map("labels", labels(&spec.labels));
    let mut plugins = plugins::expanded(&spec.plugins, around);
    for (name, fields) in &spec.credentials {
        plugins.insert(name.clone(), credential(name, fields));
    }
    document.put_map("plugins", plugins);
    document.store(&mut keys, Directory::Consumers, &spec.name);
    keys
}

/// A credential as the plugin's consumer side. HMAC has other names in APISIX since 3.11, and its
/// settings moved to the routes. Gateways verify tokens and do not sign any: keys to sign with stay
/// here.
pub fn credential(plugin: &str, fields: &Value) -> Value {
    let Value::Object(fields) = fields else { return fields.clone() };
    if plugin != "hmac-auth" {
        let mut kept = fields.clone();
        if plugin == "jwt-auth" {
            kept.remove("private_key");
        }
        return Value::Object(kept);
    }
    let mut renamed = Map::new();
    for (name, target) in
        [("access_key", "key_id"), ("key_id", "key_id"), ("secret_key", "secret_key")]
    {
        if let Some(value) = fields.get(name) {
            renamed.insert(target.into(), value.clone());
        }
    }
    Value::Object(renamed)
}
