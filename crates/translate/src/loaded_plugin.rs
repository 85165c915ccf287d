//! Which plugins gateways have, and what all uses of one share.

use gantry_model::config::{PluginState, PluginStates};
use gantry_routing::plugin;
use serde_json::{Value, json};

use crate::Keys;
use crate::document::{Directory, Document};

/// One key that holds the whole list.
const LIST: &str = "/apisix/plugins";

/// Plugins that this crate makes of settings, prefixes, protocols and canary releases: a gateway
/// without them would do something else than was asked for.
pub const NEEDED: &[&str] = &[
    "client-control",
    "prometheus",
    "proxy-control",
    "proxy-rewrite",
    "real-ip",
    "redirect",
    "response-rewrite",
    "traffic-split",
];

/// Plugins for traffic other than HTTP that gateways have from the start; the list would take them
/// away if it left them out.
const STREAM: &[&str] = &["ip-restriction", "limit-conn", "mqtt-proxy", "syslog", "traffic-split"];

/// Whether a plugin may be used: loaded, or there from the start and not unloaded.
#[must_use]
pub fn is_loaded(states: &PluginStates, name: &str) -> bool {
    let decided = states.get(name).and_then(|state| state.loaded);
    let from_the_start = || plugin::get(name).is_some_and(|found| found.enabled_by_default);
    NEEDED.contains(&name) || decided.unwrap_or_else(from_the_start)
}

/// The list of plugins, and the metadata of those that are loaded and have some.
///
/// A gateway without a list has what APISIX starts with. From the first loading or unloading on
/// there always is one: when it goes, gateways keep the last they saw until they start again.
#[must_use]
pub fn loaded_plugins(states: &PluginStates) -> Keys {
    let mut keys = Keys::new();
    for (name, state) in states {
        if is_loaded(states, name) && !state.metadata.is_empty() {
            metadata(name, state).store(&mut keys, Directory::PluginMetadata, name);
        }
    }
    if states.values().any(|state| state.loaded.is_some()) {
        keys.insert(LIST.to_owned(), list(states).to_string());
    }
    keys
}

fn metadata(name: &str, state: &PluginState) -> Document {
    let mut document = Document::new();
    for (field, value) in &state.metadata {
        document.put(field, value.clone());
    }
    document.put("id", name);
    document
}

fn list(states: &PluginStates) -> Value {
    let loaded = plugin::all().filter(|found| is_loaded(states, &found.name));
    let http = loaded.map(|found| json!({ "name": found.name }));
    let stream = STREAM.iter().map(|name| json!({ "name": name, "stream": true }));
    http.chain(stream).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn states(decided: &[(&str, Option<bool>)]) -> PluginStates {
        let state = |loaded| PluginState { loaded, metadata: Map::new() };
        decided.iter().map(|(name, loaded)| ((*name).to_owned(), state(*loaded))).collect()
    }

    fn names(keys: &Keys) -> Vec<String> {
        let list: Value = serde_json::from_str(&keys[LIST]).unwrap();
        let list = list.as_array().unwrap().iter().filter(|one| one["stream"].is_null());
        list.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn nothing_is_said_before_something_was_loaded_or_unloaded() {
        assert_eq!(loaded_plugins(&PluginStates::new()), Keys::new());
        assert_eq!(loaded_plugins(&states(&[("cors", None)])), Keys::new());
    }

    #[test]
    fn the_list_is_what_gateways_start_with_and_what_was_decided() {
        let keys = loaded_plugins(&states(&[("error-page", Some(true)), ("zipkin", Some(false))]));
        let names = names(&keys);
        let on = plugin::all().filter(|found| found.enabled_by_default).count();
        assert_eq!(names.len(), on);
        assert!(names.iter().any(|name| name == "error-page"));
        assert!(!names.iter().any(|name| name == "zipkin"));
        assert!(keys[LIST].contains(r#"{"name":"mqtt-proxy","stream":true}"#));
    }

    #[test]
    fn what_the_translation_needs_cannot_be_taken_away() {
        for name in NEEDED {
            assert!(plugin::get(name).is_some_and(|found| found.enabled_by_default), "{name}");
            let keys = loaded_plugins(&states(&[(name, Some(false))]));
            assert!(names(&keys).iter().any(|one| one == name), "{name}");
        }
    }

    #[test]
    fn a_list_stays_when_the_decision_is_taken_back() {
        let keys = loaded_plugins(&states(&[("zipkin", Some(true)), ("error-page", Some(false))]));
        let start: Vec<&str> = plugin::all()
            .filter(|found| found.enabled_by_default)
            .map(|found| found.name.as_str())
            .collect();
        assert_eq!(names(&keys), start);
    }

    #[test]
    fn metadata_of_an_unloaded_plugin_is_not_served() {
        let Value::Object(metadata) = json!({ "log_format": { "host": "$host" } }) else {
            unreachable!("an object")
        };
        let served = |loaded| {
            let state = PluginState { loaded, metadata: metadata.clone() };
            let keys = loaded_plugins(&[("http-logger".to_owned(), state)].into());
            keys.get("/apisix/plugin_metadata/http-logger").cloned()
        };
        let text = r#"{"id":"http-logger","log_format":{"host":"$host"}}"#;
        assert_eq!(served(None).as_deref(), Some(text));
        assert_eq!(served(Some(false)), None);
    }
}
