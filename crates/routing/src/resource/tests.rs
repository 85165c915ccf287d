use serde_json::json;

use super::*;

#[track_caller]
fn route(document: Value) -> Route {
    match parse_value("routes", "1", document) {
        Ok(Resource::Route(route)) => *route,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn refused(directory: &str, id: &str, document: Value) -> String {
    parse_value(directory, id, document).expect_err("the document is wrong")
}

#[test]
fn every_schema_compiles() {
    let helpers = ["_meta_property", "upstream_hash_vars_schema", "upstream_hash_header_schema"];
    let managers = ["vault/1", "aws/1", "gcp/1"].map(|id| schema_name(Kind::Secret, id));
    let kinds = DIRECTORIES.iter().map(|(_, kind)| schema_name(*kind, ""));
    for name in kinds.chain(managers).flatten().chain(helpers).chain(["credential"]) {
        assert!(schema(name).is_ok(), "{name}: {:?}", schema(name));
    }
}

#[test]
fn single_fields_become_lists_and_the_id_comes_from_the_key() {
    let other = route(json!({"id": 7, "uri": "/a", "plugins": {}}));
    assert_eq!(other.id, "1", "whatever the document says");
    let route = route(json!({"uri": "/a", "host": "A.com", "service_id": 7}));
    assert_eq!(route.id, "1");
    assert_eq!(route.uris, ["/a"]);
    assert_eq!(route.hosts, ["a.com"]);
    assert_eq!(route.service_id.as_deref(), Some("7"));
    assert_eq!(route.priority, 0);
    assert!(route.is_enabled());
}

#[test]
fn errors_are_one_sentence() {
    assert_eq!(
        refused("routes", "1", json!({"uri": "/a", "plugins": {}, "no": 1, "priority": "x"})),
        "`no` is not a known field; `priority` must be a whole number, for example 0"
    );
    assert!(refused("routes", "1", json!({"plugins": {}})).contains("`uri`"));
    assert!(
        refused("routes", "1", json!({"uri": "/a", "plugins": {}, "vars": [1]})).contains("vars")
    );
    assert!(refused("elsewhere", "1", json!({})).contains("elsewhere"));
    assert!(parse("routes", "1", b"init_dir").unwrap_err().starts_with("it is not JSON"));
    assert!(refused("routes", "1", json!([])).contains("object"));
}

#[test]
fn nodes_come_in_two_forms() {
    let upstream = |nodes: Value| match parse_value("upstreams", "u", json!({"nodes": nodes})) {
        Ok(Resource::Upstream(upstream)) => *upstream,
        other => panic!("{other:?}"),
    };
    let nodes =
        upstream(json!({"[::1]:80": 1, "example.com": 0, "127.0.0.1:8080": 2.0})).nodes.unwrap();
    let nodes: Vec<_> =
        nodes.iter().map(|node| (node.host.as_str(), node.port, node.weight)).collect();
    assert_eq!(
        nodes,
        [("127.0.0.1", Some(8080), 2), ("[::1]", Some(80), 1), ("example.com", None, 0)]
    );
    let upstream = upstream(json!([{"host": "a", "port": 1, "weight": 1}]));
    assert_eq!(upstream.nodes.unwrap()[0].priority, 0);
    assert_eq!((upstream.scheme, upstream.pass_host), (Scheme::Http, PassHost::Pass));
    assert!(refused("upstreams", "u", json!({"nodes": {"a:99999": 1}})).contains("a:99999"));
}

#[test]
fn health_checks_have_defaults_where_they_are_written() {
    let document =
        json!({"nodes": [], "checks": {"active": {"healthy": {}}, "passive": {"unhealthy": {}}}});
    let Ok(Resource::Upstream(upstream)) = parse_value("upstreams", "u", document) else {
        panic!()
    };
    let checks = upstream.checks.unwrap();
    assert_eq!(checks.active.healthy.unwrap().http_statuses, [200, 302]);
    assert_eq!(checks.active.unhealthy, None);
    assert_eq!(checks.passive.unwrap().unhealthy.unwrap().timeouts, 7);
}

#[test]
fn upstreams_have_rules_beyond_the_schema() {
    assert!(
        refused("upstreams", "u", json!({"nodes": [], "pass_host": "rewrite"}))
            .contains("upstream_host")
    );
    assert!(refused("upstreams", "u", json!({"nodes": [], "type": "chash"})).contains("`key`"));
    let key = json!({"nodes": [], "type": "chash", "key": "no such"});
    assert!(refused("upstreams", "u", key).contains("no such"));
    let key = json!({"nodes": [], "type": "chash", "key": "arg_id"});
    assert!(parse_value("upstreams", "u", key).is_ok());
    let inline = json!({"uri": "/", "upstream": {"nodes": [], "pass_host": "rewrite"}});
    assert!(refused("routes", "1", inline).contains("upstream_host"));
}

#[test]
fn credentials_belong_to_the_consumer_of_their_key() {
    let document = json!({"plugins": {"key-auth": {"key": "k"}}});
    match parse_value("consumers", "jack/credentials/c1", document) {
        Ok(Resource::Credential(credential)) => {
            assert_eq!((credential.consumer.as_str(), credential.id.as_str()), ("jack", "c1"));
        }
        other => panic!("{other:?}"),
    }
    assert!(parse_value("consumers", "jack", json!({"username": "jack"})).is_ok());
}

#[test]
fn old_names_of_directories_are_understood() {
    let pem = "-".repeat(200);
    let document = json!({"cert": pem, "key": pem, "sni": "Foo.com."});
    for directory in ["ssl", "ssls"] {
        match parse_value(directory, "1", document.clone()) {
            Ok(Resource::Ssl(ssl)) => {
                assert_eq!(ssl.snis, ["foo.com"]);
                assert!(!format!("{ssl:?}").contains("---"));
            }
            other => panic!("{other:?}"),
        }
    }
    for directory in ["proto", "protos"] {
        let proto = parse_value(directory, "1", json!({"content": "syntax"}));
        assert!(matches!(proto, Ok(Resource::Proto(_))));
    }
}

#[test]
fn the_remaining_directories_are_understood() {
    let plugins = json!({"plugins": {"cors": {}}});
    for (directory, id, document) in [
        ("services", "1", json!({"hosts": ["a.com"]})),
        ("global_rules", "1", plugins.clone()),
        ("plugin_configs", "1", plugins.clone()),
        ("consumer_groups", "1", plugins),
        ("plugin_metadata", "cors", json!({"allow_origins": {}})),
        ("stream_routes", "1", json!({"server_port": 1000})),
        ("secrets", "vault/1", json!({"uri": "http://v", "prefix": "kv", "token": "t"})),
    ] {
        assert!(is_known(directory));
        let parsed = parse_value(directory, id, document);
        assert!(parsed.is_ok(), "{directory}: {parsed:?}");
    }
}
