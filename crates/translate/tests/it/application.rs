//! Applications and the services and upstreams they become.

use gantry_model::config::ServiceRegistrySpec;
use gantry_translate::{
    Surroundings, api, application, check_application, check_service_registry, service_registry,
};
use serde_json::{Value, json};

use crate::build::{
    an_api, changed, id, orders, route, service, spec, upstream, value, with_upstream,
};

#[test]
fn an_application_becomes_a_service_and_an_upstream_per_version() {
    let keys = application(id(1001), &orders(&json!({})), &Surroundings::NONE);
    let names: Vec<&str> = keys.keys().map(String::as_str).collect();
    let (one, two) = ("/apisix/upstreams/1001.37a8eec1ce19", "/apisix/upstreams/1001.fb04dcb6970e");
    assert_eq!(names, ["/apisix/services/1001", one, two]);
    assert_eq!(
        value(&keys, one),
        json!({
            "id": "1001.37a8eec1ce19", "name": "orders.default", "labels": { "cp.app": "1001" },
            "type": "roundrobin", "scheme": "http",
            "nodes": [
                { "host": "10.0.0.11", "port": 8080, "weight": 100 },
                { "host": "10.0.0.12", "port": 8080, "weight": 50 }
            ],
            "retries": 2, "timeout": { "connect": 5, "send": 60, "read": 60 }, "pass_host": "pass"
        })
    );
    assert_eq!(
        value(&keys, two),
        json!({
            "id": "1001.fb04dcb6970e", "name": "orders.v2", "labels": { "cp.app": "1001" },
            "type": "roundrobin", "scheme": "http",
            "nodes": [{ "host": "10.0.1.11", "port": 8080, "weight": 100 }], "pass_host": "pass"
        })
    );
    assert_eq!(
        value(&keys, "/apisix/services/1001"),
        json!({
            "id": "1001", "name": "orders", "desc": "order system", "labels": { "team-a": "true" },
            "hosts": ["api.example.com", "*.orders.example.com"],
            "upstream_id": "1001.37a8eec1ce19",
            "plugins": { "cors": { "allow_origins": "https://shop.example.com" } }
        })
    );
}

#[test]
fn documents_are_canonical_json() {
    let spec = orders(&json!({ "description": "", "plugins": {}, "hosts": ["a.com"] }));
    assert_eq!(
        application(id(1001), &spec, &Surroundings::NONE)
            .get("/apisix/services/1001")
            .map(String::as_str),
        Some(concat!(
            r#"{"hosts":["a.com"],"id":"1001","labels":{"team-a":"true"},"name":"orders","#,
            r#""upstream_id":"1001.37a8eec1ce19"}"#
        ))
    );
}

#[test]
fn backends_may_use_tls_a_hash_and_a_host_of_their_own() {
    let document = upstream(&json!({
        "scheme": "https", "lb_type": "consistent_hash", "hash_key": "$http_x_user_id",
        "targets": [
            { "host": "pay.internal", "port": 8443, "weight": 1 },
            { "host": "::1", "port": 1, "weight": 0 },
        ],
        "upstream_host_mode": "rewrite", "upstream_host": "pay.example.com",
        "client_cert_id": "3002", "retries": 0,
    }));
    assert_eq!(
        document,
        json!({
            "id": "1001.37a8eec1ce19", "name": "orders.default", "labels": { "cp.app": "1001" },
            "type": "chash", "hash_on": "header", "key": "x-user-id", "scheme": "https",
            "nodes": [
                { "host": "pay.internal", "port": 8443, "weight": 1 },
                { "host": "[::1]", "port": 1, "weight": 0 }
            ],
            "pass_host": "rewrite", "upstream_host": "pay.example.com", "retries": 0,
            "tls": { "client_cert_id": "3002" }
        })
    );
}

#[test]
fn hash_keys_say_what_to_hash_on() {
    for (hash_key, hash_on, key) in [
        ("", "vars", json!("remote_addr")),
        ("uri", "vars", json!("uri")),
        ("$remote_addr", "vars", json!("remote_addr")),
        ("arg_user", "vars", json!("arg_user")),
        ("http_x_user_id", "header", json!("x-user-id")),
        ("cookie_session", "cookie", json!("session")),
        ("consumer_name", "consumer", json!(null)),
        ("$host$uri", "vars_combinations", json!("$host$uri")),
    ] {
        let document = upstream(&json!({ "lb_type": "consistent_hash", "hash_key": hash_key }));
        assert_eq!((&document["hash_on"], &document["key"]), (&json!(hash_on), &key), "{hash_key}");
    }
}

#[test]
fn health_checks_keep_the_defaults_of_what_is_not_said() {
    let document = upstream(&json!({ "checks": {
        "active": { "type": "http", "https": null, "http": {
            "http_probe_path": "/healthz", "probe_timeout": 2, "concurrent_probes": 5,
            "http_probe_headers": { "User-Agent": "probe" },
            "healthy": { "targets_check_interval": 5, "http_status_codes": [200], "successes": 2 },
            "unhealthy": {
                "targets_check_interval": 2, "http_failures": 3, "timeouts": 3, "tcp_failures": 0
            },
        } },
        "passive": { "type": "http", "http": {
            "healthy": { "http_status_codes": [200, 201] },
            "unhealthy": { "http_status_codes": [500, 502, 503], "http_failures": 5, "timeouts": 0 },
        } },
    } }));
    assert_eq!(
        document["checks"],
        json!({
            "active": {
                "type": "http", "http_path": "/healthz", "timeout": 2, "concurrency": 5,
                "req_headers": ["User-Agent: probe"],
                "healthy": { "interval": 5, "http_statuses": [200], "successes": 2 },
                "unhealthy": { "interval": 2, "http_failures": 3, "timeouts": 3 }
            },
            "passive": {
                "type": "http",
                "healthy": { "http_statuses": [200, 201] },
                "unhealthy": { "http_statuses": [500, 502, 503], "http_failures": 5, "timeouts": 0 }
            }
        })
    );
    let document = upstream(&json!({ "checks": { "active": { "type": "https" } } }));
    let active = json!({
        "type": "https", "https_verify_certificate": false, "healthy": {}, "unhealthy": {}
    });
    assert_eq!(document["checks"], json!({ "active": active }));
}

#[test]
fn an_https_only_application_redirects_plain_http() {
    let redirect = json!({ "http_to_https": true, "_meta": { "priority": 2850 } });
    let https = json!({ "protocols": ["HTTPS"], "plugins": {} });
    assert_eq!(service(&https)["plugins"], json!({ "redirect": redirect }));
    assert_eq!(route(&orders(&https), &json!({}))["vars"], json!(null));

    // A redirect of the user takes the place of ours, which must not open the application.
    let only_https = json!([["scheme", "==", "https"]]);
    let mine = json!({ "redirect": { "uri": "/new" } });
    assert_eq!(route(&orders(&https), &json!({ "plugins": mine }))["vars"], only_https);
    let https = json!({ "protocols": ["HTTPS"], "plugins": mine });
    assert_eq!(service(&https)["plugins"], mine);
    assert_eq!(route(&orders(&https), &json!({}))["vars"], only_https);
}

#[test]
fn drafts_are_not_served() {
    let (published, draft) = (orders(&json!({})), orders(&json!({ "active": 1 })));
    assert!(application(id(1001), &draft, &Surroundings::NONE).is_empty());
    assert!(api(id(2001), id(1001), &draft, &an_api(&json!({})), &Surroundings::NONE).is_empty());
    assert!(
        api(id(2001), id(1001), &published, &an_api(&json!({ "active": 1 })), &Surroundings::NONE)
            .is_empty()
    );
}

#[test]
fn labels_in_an_acl_stand_for_the_consumers_that_carry_them() {
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    let labelled =
        [("gold".to_owned(), names(&["zoe", "ann"])), ("silver".into(), names(&["ann"]))];
    let around = Surroundings { labelled_consumers: labelled.into(), ..Surroundings::default() };
    let restriction = |acl: Value| {
        let spec = orders(&json!({ "plugins": { "acl": acl } }));
        let keys = application(id(1001), &spec, &around);
        value(&keys, "/apisix/services/1001")["plugins"]["consumer-restriction"].clone()
    };
    let allow = restriction(json!({ "mode": "Allow", "allowed_consumers": ["bob", "zoe"],
        "allowed_consumer_labels": ["gold", "silver"], "rejected_status_code": 401,
        "error_message": "no" }));
    let expected = json!({ "whitelist": ["bob", "zoe", "ann"], "rejected_code": 401,
        "rejected_msg": "no" });
    assert_eq!(allow, expected);
    let deny = restriction(json!({ "mode": "Deny", "denied_consumer_labels": ["silver"],
        "_meta": { "disable": true } }));
    let expected = json!({ "blacklist": ["ann"], "rejected_code": 403,
        "rejected_msg": "The consumer is forbidden.", "_meta": { "disable": true } });
    assert_eq!(deny, expected);
    // Nobody carries the label: nobody may come in, rather than everybody.
    let nobody = restriction(json!({ "mode": "Allow", "allowed_consumer_labels": ["bronze"] }));
    assert_eq!(nobody["whitelist"], json!(["#nobody"]));
}

#[test]
fn log_collections_become_the_plugins_of_their_types() {
    let logs =
        json!({ "name": "logs", "type": "http-logger", "spec": { "uri": "http://logs:9000" } });
    let kafka = json!({ "name": "kafka", "type": "kafka-logger",
        "spec": { "brokers": [{ "host": "kafka", "port": 9092 }], "kafka_topic": "access" } });
    let around = Surroundings {
        log_collections: [(id(7), spec(logs)), (id(8), spec(kafka))].into(),
        ..Surroundings::default()
    };
    let plugins = |plugins: Value| {
        let spec = orders(&json!({ "plugins": plugins }));
        let violations = check_application(&spec, &around);
        let fields: Vec<String> = violations.into_iter().map(|one| one.field).collect();
        let keys = application(id(1001), &spec, &around);
        (value(&keys, "/apisix/services/1001")["plugins"].clone(), fields)
    };
    let http = json!({ "uri": "http://logs:9000" });
    let (both, fields) = plugins(json!({ "logging": { "log_collections": ["7", "8"] } }));
    assert_eq!((both["http-logger"].clone(), fields), (http.clone(), vec![]));
    assert_eq!(both["kafka-logger"]["kafka_topic"], "access");
    let (bare, fields) = plugins(json!({ "log_collections": ["7"] }));
    assert_eq!((bare, fields), (json!({ "http-logger": http }), vec![]));
    let off = json!({ "logging": { "log_collections": ["7"], "_meta": { "disable": true } } });
    assert_eq!(plugins(off).0["http-logger"]["_meta"], json!({ "disable": true }));
    for (bad, field) in [
        (json!({ "log_collections": ["7", "9"] }), "plugins.log_collections[1]"),
        (json!({ "log_collections": [7] }), "plugins.log_collections[0]"),
        (json!({ "log_collections": "7" }), "plugins.log_collections"),
        (
            json!({ "logging": { "log_collections": ["7", "7"] } }),
            "plugins.logging.log_collections[1]",
        ),
        (
            json!({ "logging": { "log_collections": ["7"], "http-logger": { "uri": "http://a" } } }),
            "plugins.logging.log_collections[0]",
        ),
        (
            json!({ "logging": { "log_collections": ["7"] }, "http-logger": { "uri": "http://a" } }),
            "plugins.logging.http-logger",
        ),
    ] {
        assert_eq!(plugins(bad.clone()).1, [field], "{bad}");
    }
}

#[test]
fn a_service_is_looked_up_in_its_registry() {
    let discovery = json!({ "service_registry": 1, "service_registry_id": "4001",
        "kubernetes_service": { "namespace": "shop", "name": "orders", "port": "http" } });
    let discovered = with_upstream(&json!({ "service_discovery": discovery, "targets": null }));
    let upstream = |around: &Surroundings| {
        let keys = application(id(1001), &discovered, around);
        value(&keys, "/apisix/upstreams/1001.37a8eec1ce19")
    };
    let mut around = Surroundings::default();
    let fields = |around: &Surroundings| -> Vec<String> {
        check_application(&discovered, around).into_iter().map(|one| one.field).collect()
    };
    let field = "upstreams[0].upstream.service_discovery.service_registry_id";
    assert_eq!(fields(&around), [field]);
    around.service_registries.insert(id(4001), true);
    assert_eq!(fields(&around), Vec::<String>::new());
    let found = upstream(&around);
    assert_eq!(found["discovery_type"], "kubernetes");
    assert_eq!(found["service_name"], "4001/shop/orders:http");
    assert!(found.get("nodes").is_none());
    // Switched off: no nodes, by which every gateway answers 503.
    around.service_registries.insert(id(4001), false);
    let off = upstream(&around);
    assert_eq!((&off["nodes"], off.get("discovery_type")), (&json!([]), None));
}

#[test]
fn a_registry_becomes_what_a_start_up_file_holds() {
    let registry = |change: &Value| -> ServiceRegistrySpec {
        let kubernetes = json!({ "api_server": { "host": "10.0.0.1", "port": 6443 },
            "service_account_token_file": "/token" });
        let kubernetes = changed(kubernetes, change);
        spec(json!({ "name": "pods", "type": 1, "enabled": true, "kubernetes": kubernetes }))
    };
    let document = |change: Value| {
        let spec = registry(&change);
        assert_eq!(check_service_registry(&spec), vec![], "{change}");
        value(&service_registry(id(4001), &spec), "/apisix/cluster_registries/4001")
    };
    let expected = json!({ "id": "4001", "client": { "token_file": "/token" },
        "service": { "schema": "https", "host": "10.0.0.1", "port": "6443" } });
    assert_eq!(document(json!({})), expected);
    let selected = document(json!({
        "api_server": { "scheme": "http" },
        "service_account_token_file": "", "service_account_token_value": "s3cret",
        "namespace_selector": { "operator": "match", "patterns": ["^shop"] },
        "endpoints_label_selectors": [
            { "key": "app", "operator": "equal", "value": "orders" },
            { "key": "tier", "operator": "notin", "value": "a,b" },
            { "key": "old", "operator": "not_exists", "value": "" },
        ],
    }));
    let expected = json!({ "id": "4001", "client": { "token": "s3cret" },
        "service": { "schema": "http", "host": "${KUBERNETES_SERVICE_HOST}",
            "port": "${KUBERNETES_SERVICE_PORT}" },
        "namespace_selector": { "match": ["^shop"] },
        "label_selector": "app=orders,tier notin (a,b),!old" });
    assert_eq!(selected, expected);
    for (change, field) in [
        (json!({ "service_account_token_value": "x" }), "service_account_token_value"),
        (json!({ "service_account_token_file": "" }), "service_account_token_value"),
        (json!({ "api_server": { "host": "https://a" } }), "api_server.host"),
        (
            json!({ "namespace_selector": { "operator": "equal", "patterns": [] } }),
            "namespace_selector.patterns",
        ),
        (
            json!({ "endpoints_label_selectors": [{ "key": "a b", "operator": "exists" }] }),
            "endpoints_label_selectors[0].key",
        ),
    ] {
        let broken = check_service_registry(&registry(&change));
        let fields: Vec<String> = broken.into_iter().map(|one| one.field).collect();
        assert_eq!(fields, [format!("kubernetes.{field}")], "{change}");
    }
}
