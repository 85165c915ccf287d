//! Rules of settings and plugins of a cluster.

use gantry_model::Violation;
use gantry_model::config::Plugins;
use gantry_model::config::cluster::{
    ApiProxySettings, ClientRealIp, ClusterSettings, Position, ServerHeader,
};
use serde_json::json;

use super::plugins::Place;
use super::{Report, health, plugins, schema, some_id};
use crate::Surroundings;
use crate::cluster::{
    DELETE_TAIL_SLASH, MODE_HIDE_VERSION, MODE_REWRITE, real_ip, settings_plugins,
};

/// Broken rules of a cluster. Fields of settings are named from `client_settings` and its siblings
/// on, those of plugins from the name of the plugin on.
#[must_use]
pub fn check_cluster(
    settings: &ClusterSettings,
    plugins: &Plugins,
    around: &Surroundings,
) -> Vec<Violation> {
    let mut report = Report::default();
    if let Some(client) = &settings.client_settings {
        check_real_ip(&mut report, &client.client_real_ip);
    }
    if let Some(proxy) = &settings.api_proxy_settings {
        check_proxy(&mut report, proxy);
    }
    plugins::check(&mut report, Place::Cluster, plugins, around);
    check_conflicts(&mut report, settings, plugins, around);
    let keys = crate::cluster(some_id(), settings, plugins, around);
    schema::check_documents(&mut report, "cluster", &keys);
    report.0
}

fn check_real_ip(report: &mut Report, settings: &ClientRealIp) {
    let field = "client_settings.client_real_ip";
    if !settings.enabled {
        return;
    }
    let Some(source) = &settings.replace_from else {
        let example = r#"{"position":"header","name":"X-Forwarded-For"}"#;
        let rule = "must say where the address is read, because `enabled` is true";
        return report.broken(format!("{field}.replace_from"), rule, example);
    };
    let valid = match source.position {
        Position::Header | Position::Cookie => health::is_token(&source.name),
        Position::Query => !source.name.is_empty(),
    };
    if !valid {
        let rule = "must be the name of a header, query argument or cookie";
        report.broken(format!("{field}.replace_from.name"), rule, r#""X-Forwarded-For""#);
    }
    if let Some(config) = real_ip(settings) {
        schema::check(report, field, "real-ip", &config);
    }
}

fn check_proxy(report: &mut Report, settings: &ApiProxySettings) {
    let field = "api_proxy_settings";
    if let Some(ServerHeader { mode, new_server_header }) = &settings.server_header_customization {
        let field = format!("{field}.server_header_customization");
        if !["", MODE_REWRITE, MODE_HIDE_VERSION].contains(&mode.as_str()) {
            let rule = format!("must be `{MODE_REWRITE}` or `{MODE_HIDE_VERSION}`");
            report.broken(format!("{field}.mode"), rule, json!(MODE_REWRITE).to_string());
        }
        let valid = !new_server_header.is_empty() && !new_server_header.contains(char::is_control);
        if mode == MODE_REWRITE && !valid {
            let rule = "must be a header value, because `mode` is `Rewrite`";
            report.broken(format!("{field}.new_server_header"), rule, r#""gateway""#);
        }
    }
    for (index, option) in settings.url_handling_options.iter().enumerate() {
        if option != DELETE_TAIL_SLASH {
            let rule = format!("must be `{DELETE_TAIL_SLASH}`");
            let field = format!("{field}.url_handling_options[{index}]");
            report.broken(field, rule, json!(DELETE_TAIL_SLASH).to_string());
        }
    }
}

/// A plugin can stand in the global rule once. For prometheus the cluster's own wins, as settings
/// switch it on by default and it says more.
fn check_conflicts(
    report: &mut Report,
    settings: &ClusterSettings,
    plugins: &Plugins,
    around: &Surroundings,
) {
    let own = crate::plugins::expanded(plugins, around);
    for name in settings_plugins(settings).keys() {
        if name != "prometheus" && own.contains_key(name) {
            let setting = match name.as_str() {
                "real-ip" => "client_settings.client_real_ip",
                "client-control" => "client_settings.maximum_request_body_size",
                "proxy-control" => "api_proxy_settings.enable_request_buffering",
                _ => "api_proxy_settings.server_header_customization",
            };
            let rule = format!("must not be used beside the cluster setting `{setting}`");
            report.broken(name.as_str(), rule, "");
        }
    }
}
