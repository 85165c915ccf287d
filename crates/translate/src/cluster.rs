//! Settings and plugins of a whole cluster: one global rule, and a document for what APISIX can only
//! be told in its start-up file.

use gantry_model::Id;
use gantry_model::config::Plugins;
use gantry_model::config::cluster::{
    AccessLogRotate, ApiProxySettings, ClientRealIp, ClusterSettings, Position, ReplaceFrom,
};
use serde_json::{Map, Value, json};

use crate::document::{Directory, Document};
use crate::{Keys, Surroundings, expression, plugins};

/// The one global rule of a cluster: APISIX drops a plugin that stands in two of them.
const GLOBAL_RULE: &str = "cluster";

pub const MODE_REWRITE: &str = "Rewrite";
pub const MODE_HIDE_VERSION: &str = "Hide Version Token";
pub const DELETE_TAIL_SLASH: &str = "Delete Tail Slash";

/// The global rule and the settings of a cluster; neither key exists when it would say nothing.
#[must_use]
pub fn cluster(
    id: Id,
    settings: &ClusterSettings,
    plugins: &Plugins,
    around: &Surroundings,
) -> Keys {
    let mut keys = Keys::new();
    let mut merged = settings_plugins(settings);
    merged.extend(plugins::expanded(plugins, around));
    if !merged.is_empty() {
        let mut rule = Document::with_id(&GLOBAL_RULE);
        rule.put_map("plugins", merged);
        rule.store(&mut keys, Directory::GlobalRules, GLOBAL_RULE);
    }
    let own = own_settings(settings);
    if !own.is_empty() {
        own.store(&mut keys, Directory::ClusterSettings, id);
    }
    keys
}

/// The plugins that settings stand for.
pub fn settings_plugins(settings: &ClusterSettings) -> Plugins {
    let mut plugins = Plugins::new();
    let mut add = |name: &str, config: Value| plugins.insert(name.to_owned(), config);
    if let Some(client) = &settings.client_settings {
        if let Some(config) = real_ip(&client.client_real_ip) {
            add("real-ip", config);
        }
        if client.maximum_request_body_size > 0 {
            add("client-control", json!({ "max_body_size": client.maximum_request_body_size }));
        }
    }
    if settings.observability_settings.as_ref().is_none_or(|group| group.metrics.enabled) {
        add("prometheus", json!({}));
    }
    if let Some(proxy) = &settings.api_proxy_settings {
        if !proxy.enable_request_buffering {
            add("proxy-control", json!({ "request_buffering": false }));
        }
        if let Some(server) = new_server_header(proxy) {
            add("response-rewrite", json!({ "headers": { "set": { "Server": server } } }));
        }
    }
    plugins
}

/// Configuration of the plugin `real-ip`.
pub fn real_ip(settings: &ClientRealIp) -> Option<Value> {
    let ReplaceFrom { position, name } =
        settings.replace_from.as_ref().filter(|_| settings.enabled)?;
    let source = match position {
        Position::Header => expression::header_variable(name),
        Position::Query => format!("arg_{name}"),
        Position::Cookie => format!("cookie_{name}"),
    };
    let mut config = Map::new();
    config.insert("source".into(), json!(source));
    config.insert("recursive".into(), json!(settings.recursive_search));
    if !settings.trusted_addresses.is_empty() {
        config.insert("trusted_addresses".into(), json!(settings.trusted_addresses));
    }
    Some(Value::Object(config))
}

fn new_server_header(proxy: &ApiProxySettings) -> Option<&str> {
    let header = proxy.server_header_customization.as_ref()?;
    (header.mode == MODE_REWRITE).then_some(header.new_server_header.as_str())
}

/// What only our gateway reads; absent parts are off.
fn own_settings(settings: &ClusterSettings) -> Document {
    let mut own = Document::new();
    if let Some(proxy) = &settings.api_proxy_settings {
        let header = proxy.server_header_customization.as_ref();
        if header.is_some_and(|header| header.mode == MODE_HIDE_VERSION) {
            own.put("server_header", json!({ "mode": "hide_version" }));
        }
        if proxy.url_handling_options.iter().any(|option| option == DELETE_TAIL_SLASH) {
            own.put("delete_uri_tail_slash", true);
        }
    }
    if let Some(observability) = &settings.observability_settings {
        if observability.show_upstream_status_in_response_header {
            own.put("show_upstream_status_in_response_header", true);
        }
        own.put_some("access_log_rotate", access_log_rotate(&observability.access_log_rotate));
    }
    own
}

/// Seconds between rotations and files that stay, where nothing is said.
const ROTATE_INTERVAL: u64 = 3600;
const ROTATE_KEPT: u64 = 168;

fn access_log_rotate(settings: &AccessLogRotate) -> Option<Value> {
    let AccessLogRotate { enabled, interval, maximum_kept_log_entries, enable_compression } =
        *settings;
    let or = |number, default| if number == 0 { default } else { number };
    enabled.then(|| {
        json!({
            "enabled": true,
            "interval": or(interval, ROTATE_INTERVAL),
            "maximum_kept_log_entries": or(maximum_kept_log_entries, ROTATE_KEPT),
            "enable_compression": enable_compression,
        })
    })
}
