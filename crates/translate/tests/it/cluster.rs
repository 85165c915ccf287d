//! Consumers, certificates and settings, and what they become.

use gantry_model::config::{
    CertificateSpec, CertificateType, ClusterSettings, ConsumerSpec, Plugins,
};
use gantry_translate::{Surroundings, certificate, cluster, consumer};
use serde_json::json;

use crate::build::{id, spec, value};

#[test]
fn a_consumer_carries_its_credentials_as_plugins() {
    let secret = "0123456789abcdef0123456789abcdef";
    let limit = json!({
        "count": 100, "time_window": 60, "key_type": "var", "key": "consumer_name",
        "rejected_code": 429
    });
    let consumer_spec: ConsumerSpec = spec(json!({
        "name": "mobile_app", "description": "mobile application", "labels": ["team-a"],
        "credentials": {
            "key-auth": { "key": "k-7d1f0c" },
            "jwt-auth": { "key": "mobile", "secret": secret, "algorithm": "HS256" },
            "hmac-auth": { "access_key": "ak-1", "secret_key": "s3cr3t", "clock_skew": 0 },
            "basic-auth": { "username": "mobile", "password": "pw" },
        },
        "plugins": { "limit-count": limit },
    }));
    let keys = consumer(id(5001), &consumer_spec, &Surroundings::NONE);
    assert_eq!(keys.len(), 1);
    assert_eq!(
        value(&keys, "/apisix/consumers/mobile_app"),
        json!({
            "username": "mobile_app", "desc": "mobile application", "labels": { "team-a": "true" },
            "plugins": {
                "key-auth": { "key": "k-7d1f0c" },
                "jwt-auth": { "key": "mobile", "secret": secret, "algorithm": "HS256" },
                "hmac-auth": { "key_id": "ak-1", "secret_key": "s3cr3t" },
                "basic-auth": { "username": "mobile", "password": "pw" },
                "limit-count": limit
            }
        })
    );
}

#[test]
fn certificates_are_for_clients_or_for_backends() {
    let mut spec = CertificateSpec {
        certificate: "\n-----BEGIN CERTIFICATE-----\n".into(),
        private_key: " -----BEGIN PRIVATE KEY-----\n".into(),
        ca_certificate: Some("-----BEGIN CERTIFICATE-----\nca".into()),
        labels: Vec::new(),
        kind: CertificateType::Server,
    };
    let names = ["api.example.com".to_owned(), "*.Orders.example.com".to_owned()];
    assert_eq!(
        value(&certificate(id(3001), &spec, &names), "/apisix/ssls/3001"),
        json!({
            "id": "3001", "type": "server", "cert": "-----BEGIN CERTIFICATE-----",
            "key": "-----BEGIN PRIVATE KEY-----",
            "snis": ["api.example.com", "*.orders.example.com"],
            "client": { "ca": "-----BEGIN CERTIFICATE-----\nca", "depth": 2 }, "status": 1
        })
    );
    spec.kind = CertificateType::Client;
    spec.ca_certificate = None;
    assert_eq!(
        value(&certificate(id(3002), &spec, &names), "/apisix/ssls/3002"),
        json!({
            "id": "3002", "type": "client", "cert": "-----BEGIN CERTIFICATE-----",
            "key": "-----BEGIN PRIVATE KEY-----"
        })
    );
}

#[test]
fn settings_and_plugins_of_a_cluster_share_one_global_rule() {
    let settings: ClusterSettings = spec(json!({
        "client_settings": {
            "client_real_ip": {
                "enabled": true, "replace_from": { "position": "header", "name": "X-Real-IP" },
                "trusted_addresses": ["10.0.0.0/8"],
            },
            "maximum_request_body_size": 10_485_760,
        },
        "observability_settings": {
            "metrics": { "enabled": true }, "show_upstream_status_in_response_header": true,
            "access_log_rotate": { "enabled": true },
        },
        "api_proxy_settings": {
            "enable_request_buffering": false,
            "server_header_customization": { "mode": "Rewrite", "new_server_header": "gateway" },
            "url_handling_options": ["Delete Tail Slash"],
        },
    }));
    let logger = json!({ "uri": "http://logs.internal:9000/ingest", "batch_max_size": 200 });
    let plugins: Plugins = spec(json!({
        "authentication": { "type": "key-auth", "strip_credentials": false },
        "ip-restriction": { "blacklist": ["203.0.113.0/24"] },
        "logging": { "log_collections": [], "http-logger": logger },
        "acl": { "mode": "Deny", "denied_consumers": ["old_app"] },
    }));
    let keys = cluster(id(1), &settings, &plugins, &Surroundings::NONE);
    assert_eq!(
        value(&keys, "/apisix/global_rules/cluster"),
        json!({ "id": "cluster", "plugins": {
            "real-ip": {
                "source": "http_x_real_ip", "trusted_addresses": ["10.0.0.0/8"], "recursive": false
            },
            "client-control": { "max_body_size": 10_485_760 },
            "prometheus": {},
            "proxy-control": { "request_buffering": false },
            "response-rewrite": { "headers": { "set": { "Server": "gateway" } } },
            "ip-restriction": { "blacklist": ["203.0.113.0/24"] },
            "key-auth": { "hide_credentials": false },
            "http-logger": logger,
            "consumer-restriction": {
                "blacklist": ["old_app"], "rejected_code": 403,
                "rejected_msg": "The consumer is forbidden."
            }
        } })
    );
    assert_eq!(
        value(&keys, "/apisix/cluster_settings/1"),
        json!({
            "delete_uri_tail_slash": true, "show_upstream_status_in_response_header": true,
            "access_log_rotate": {
                "enabled": true, "interval": 3600, "maximum_kept_log_entries": 168,
                "enable_compression": false
            }
        })
    );
}

#[test]
fn settings_that_say_nothing_make_no_key() {
    let off: ClusterSettings =
        spec(json!({ "observability_settings": { "metrics": { "enabled": false } } }));
    assert!(cluster(id(1), &off, &Plugins::new(), &Surroundings::NONE).is_empty());

    let header = json!({ "server_header_customization": { "mode": "Hide Version Token" } });
    let hidden: ClusterSettings = spec(json!({ "api_proxy_settings": header }));
    let plugins: Plugins = spec(json!({ "prometheus": { "prefer_name": true } }));
    let keys = cluster(id(1), &hidden, &plugins, &Surroundings::NONE);
    let rule = json!({ "id": "cluster", "plugins": { "prometheus": { "prefer_name": true } } });
    assert_eq!(value(&keys, "/apisix/global_rules/cluster"), rule);
    let own = json!({ "server_header": { "mode": "hide_version" } });
    assert_eq!(value(&keys, "/apisix/cluster_settings/1"), own);
}
