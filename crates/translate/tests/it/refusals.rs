//! What is refused, with the path of the field as it was sent.

use gantry_model::Violation;
use gantry_model::config::{ClusterSettings, ConsumerSpec, Plugins};
use gantry_translate::{Surroundings, check_api, check_application, check_cluster, check_consumer};
use serde_json::{Value, json};

use crate::build::{an_api, changed, orders, spec, with_upstream};

fn fields(violations: Vec<Violation>) -> Vec<String> {
    violations.into_iter().map(|violation| violation.field).collect()
}

fn application(change: &Value) -> Vec<String> {
    fields(check_application(&orders(change), &Surroundings::NONE))
}

fn api(change: &Value) -> Vec<String> {
    fields(check_api(&orders(&json!({})), &an_api(change), &Surroundings::NONE))
}

fn upstream(change: &Value) -> Vec<String> {
    fields(check_application(&with_upstream(change), &Surroundings::NONE))
}

#[test]
fn the_examples_are_accepted() {
    assert_eq!(application(&json!({})), Vec::<String>::new());
    assert_eq!(api(&json!({})), Vec::<String>::new());
}

#[test]
fn hosts_have_no_port() {
    assert_eq!(application(&json!({ "hosts": ["a.com", "b.com:80"] })), ["hosts[1]"]);
    assert_eq!(application(&json!({ "hosts": [] })), ["hosts"]);
}

#[test]
fn versions_are_distinct_and_the_default_is_one_of_them() {
    let version = |name: &str| {
        let target = json!({ "host": "10.0.0.11", "port": 8080, "weight": 1 });
        json!({ "version": name, "upstream": { "scheme": "http", "targets": [target] } })
    };
    let versions = |names: &[&str]| names.iter().map(|name| version(name)).collect::<Vec<_>>();
    let twice = versions(&["default", "v2", "v2"]);
    assert_eq!(application(&json!({ "upstreams": twice })), ["upstreams[2].version"]);
    let other = versions(&["v1"]);
    assert_eq!(application(&json!({ "upstreams": other })), ["default_upstream_version"]);
    assert_eq!(application(&json!({ "upstreams": [] })), ["upstreams"]);
}

#[test]
fn backends_must_be_reachable_and_hashable() {
    let field = |rest: &str| vec![format!("upstreams[0].upstream.{rest}")];
    let chash = json!({ "lb_type": "consistent_hash", "hash_key": "request_id" });
    assert_eq!(upstream(&chash), field("hash_key"));
    assert_eq!(upstream(&json!({ "targets": [] })), field("targets"));
    let bad = json!({ "targets": [{ "host": "http://a", "port": 1, "weight": 1 }] });
    assert_eq!(upstream(&bad), field("targets[0].host"));
    assert_eq!(upstream(&json!({ "client_cert_id": "1" })), field("client_cert_id"));
    assert_eq!(upstream(&json!({ "upstream_host_mode": "rewrite" })), field("upstream_host"));
    assert_eq!(upstream(&json!({ "upstream_host_mode": "keep" })), field("upstream_host_mode"));
    let discovery = json!({
        "service_registry": "kubernetes", "service_registry_id": "4001",
        "kubernetes_service": { "namespace": "shop", "name": "orders", "port": "http" },
    });
    let registry = json!({ "service_discovery": discovery, "targets": null });
    assert_eq!(upstream(&registry), field("service_discovery.service_registry_id"));
}

#[test]
fn health_checks_stay_in_their_ranges() {
    let field = |rest: &str| vec![format!("upstreams[0].upstream.checks.{rest}")];
    let checks = |checks: Value| upstream(&json!({ "checks": checks }));
    assert_eq!(checks(json!({ "passive": { "type": "http" } })), field("passive"));
    let many =
        json!({ "active": { "type": "tcp", "tcp": { "unhealthy": { "tcp_failures": 255 } } } });
    assert_eq!(checks(many), field("active.tcp.unhealthy.tcp_failures"));
    let codes = json!({ "active": { "type": "http", "http": { "healthy": { "http_status_codes": [200, 200] } } } });
    assert_eq!(checks(codes), field("active.http.healthy.http_status_codes"));
    let unused = json!({ "active": { "type": "tcp", "http": { "http_probe_path": "x" } } });
    assert_eq!(checks(unused), Vec::<String>::new());
}

#[test]
fn paths_that_never_match_are_refused() {
    let paths = json!({ "paths": [{ "path": "/a" }, { "path": "/b*" }, { "path": "/c?d" }] });
    assert_eq!(api(&paths), ["paths[1].path", "paths[2].path"]);
    assert_eq!(application(&json!({ "path_prefix": "/a//b" })), ["path_prefix"]);
    assert_eq!(api(&json!({ "type": "WebSocket", "methods": ["POST"] })), ["methods"]);
}

#[test]
fn conditions_must_make_sense() {
    let control = |expressions: Value| {
        api(
            &json!({ "fine_grained_route_control": { "enabled": true, "expressions": expressions } }),
        )
    };
    let expression = |subject: &str, name: &str, operator: &str, value: &str| json!({ "subject": subject, "name": name, "operator": operator, "value": value });
    let field = |rest: &str| vec![format!("fine_grained_route_control.expressions[1].{rest}")];
    let good = expression("variable", "remote_addr", "equal", "10.0.0.1");
    for (bad, rest) in [
        (expression("header", "", "present", ""), "name"),
        (expression("header", "a b", "present", ""), "name"),
        (expression("variable", "route_id", "present", ""), "name"),
        (expression("variable", "no_such", "present", ""), "name"),
        (expression("query", "n", "larger_than", "many"), "value"),
        (expression("query", "n", "regex_match", "(a"), "value"),
    ] {
        assert_eq!(control(json!([good, bad])), field(rest), "{bad}");
    }
}

#[test]
fn plugins_are_known_and_valid() {
    let plugins = |plugins: Value| application(&json!({ "plugins": plugins }));
    assert_eq!(plugins(json!({ "no-such": {} })), ["plugins.no-such"]);
    assert_eq!(
        plugins(json!({ "limit-count": { "count": -1, "time_window": 60 } })),
        ["plugins.limit-count.count"]
    );
    assert_eq!(plugins(json!({ "key-auth": 5 })), ["plugins.key-auth"]);
    assert_eq!(plugins(json!({ "traffic-split": {} })), ["plugins.traffic-split"]);
    assert_eq!(plugins(json!({ "log_collections": ["1"] })), ["plugins.log_collections[0]"]);
}

#[test]
fn our_own_plugins_name_their_own_fields() {
    let cluster = |plugins: Value| -> Vec<String> {
        let plugins: Plugins = spec(plugins);
        fields(check_cluster(&ClusterSettings::default(), &plugins, &Surroundings::NONE))
    };
    for (plugins, field) in [
        (json!({ "authentication": { "type": "magic" } }), "authentication.type"),
        (
            json!({ "authentication": { "type": "key-auth", "strip_credentials": 1 } }),
            "authentication.strip_credentials",
        ),
        (json!({ "authentication": { "type": "key-auth" }, "key-auth": {} }), "authentication"),
        (json!({ "acl": { "mode": "Allow", "allowed_consumers": [] } }), "acl.allowed_consumers"),
        (json!({ "acl": { "mode": "Deny" } }), "acl.denied_consumers"),
        (
            json!({ "acl": { "mode": "Deny", "denied_consumer_labels": [] } }),
            "acl.denied_consumers",
        ),
        (
            json!({ "acl": { "mode": "Allow", "allowed_consumers": [7] } }),
            "acl.allowed_consumers[0]",
        ),
        (json!({ "logging": { "log_collections": ["1"] } }), "logging.log_collections[0]"),
        (json!({ "logging": { "http-logger": {} } }), "logging.http-logger.uri"),
        (json!({ "limit-count": { "count": 0, "time_window": 1 } }), "limit-count.count"),
    ] {
        assert_eq!(cluster(plugins.clone()), [field], "{plugins}");
    }
    for labels in [json!("b"), json!([1])] {
        let acl =
            json!({ "mode": "Deny", "denied_consumers": ["a"], "denied_consumer_labels": labels });
        assert_eq!(cluster(json!({ "acl": acl })), ["acl.denied_consumer_labels"], "{labels}");
    }
    let good = json!({
        "authentication": { "type": "jwt-auth", "strip_credentials": true },
        "acl": { "mode": "Allow", "allowed_consumer_labels": ["partner"] },
    });
    assert_eq!(cluster(good), Vec::<String>::new());
}

#[test]
fn settings_of_a_cluster_are_complete() {
    let cluster = |settings: Value| -> Vec<String> {
        let plugins: Plugins = spec(json!({ "client-control": { "max_body_size": 1 } }));
        fields(check_cluster(&spec(settings), &plugins, &Surroundings::NONE))
    };
    let real_ip = |value: Value| json!({ "client_settings": { "client_real_ip": value } });
    let field = "client_settings.client_real_ip";
    assert_eq!(cluster(real_ip(json!({ "enabled": true }))), [format!("{field}.replace_from")]);
    let source = json!({ "position": "header", "name": "X-Real-IP" });
    let trusted = json!({ "enabled": true, "replace_from": source, "trusted_addresses": ["10.0.0.0/8", "x"] });
    assert_eq!(cluster(real_ip(trusted)), [format!("{field}.trusted_addresses[1]")]);
    let body = json!({ "client_settings": { "maximum_request_body_size": 5 } });
    assert_eq!(cluster(body), ["client-control"]);
    let header = json!({ "server_header_customization": { "mode": "Rewrite" } });
    assert_eq!(
        cluster(json!({ "api_proxy_settings": header })),
        ["api_proxy_settings.server_header_customization.new_server_header"]
    );
}

#[test]
fn credentials_are_complete_and_apart_from_plugins() {
    let consumer = |change: Value| -> Vec<String> {
        let consumer: ConsumerSpec = spec(changed(json!({ "name": "mobile_app" }), &change));
        fields(check_consumer(&consumer, &Surroundings::NONE))
    };
    let credentials = |value: Value| consumer(json!({ "credentials": value }));
    assert_eq!(consumer(json!({ "name": "a b" })), ["name"]);
    assert_eq!(credentials(json!({ "key-auth": {} })), ["credentials.key-auth.key"]);
    assert_eq!(
        credentials(json!({ "hmac-auth": { "secret_key": "s" } })),
        ["credentials.hmac-auth.access_key"]
    );
    assert_eq!(credentials(json!({ "cors": {} })), ["credentials.cors"]);
    assert_eq!(
        credentials(json!({ "basic-auth": { "username": "a:b", "password": "p" } })),
        ["credentials.basic-auth.username"]
    );
    assert_eq!(consumer(json!({ "plugins": { "key-auth": {} } })), ["plugins.key-auth"]);
    let own = json!({ "plugins": { "authentication": { "type": "key-auth" } } });
    assert_eq!(consumer(own), ["plugins.authentication"]);
}
