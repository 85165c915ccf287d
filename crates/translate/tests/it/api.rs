//! APIs and the routes they become.

use gantry_translate::warning;
use serde_json::{Value, json};

use crate::build::{an_api, orders, route};

#[test]
fn an_api_becomes_a_route() {
    let document = route(
        &orders(&json!({})),
        &json!({
            "paths": [
                { "path": "v1/orders", "path_type": "Exact" },
                { "path": "/v1/orders", "path_type": "Exact" },
                { "path": "/v1/orders/", "path_type": "Prefix" },
            ],
            "methods": ["GET"], "strip_path_prefix": true, "plugins": { "key-auth": {} },
        }),
    );
    assert_eq!(
        document,
        json!({
            "id": "2001", "name": "list-orders", "labels": { "cp.app": "1001" },
            "service_id": "1001", "uris": ["/api/v1/orders", "/api/v1/orders/*"],
            "methods": ["GET", "OPTIONS"], "priority": 0,
            "plugins": {
                "key-auth": {},
                "proxy-rewrite": { "regex_uri": ["(?s)^/api(?:/(.*))?$", "/$1"] }
            }
        })
    );
}

#[test]
fn a_websocket_with_conditions() {
    let expressions = json!([
        { "subject": "header", "name": "X-Client", "operator": "regex_match", "value": "^mobile/" },
        { "subject": "query", "name": "v", "operator": "larger_equal", "value": "2" },
    ]);
    let document = route(
        &orders(&json!({ "protocols": ["HTTP"], "plugins": {} })),
        &json!({
            "name": "events", "paths": [{ "path": "/events" }], "type": "WebSocket",
            "fine_grained_route_control": { "enabled": true, "expressions": expressions },
        }),
    );
    assert_eq!(
        document,
        json!({
            "id": "2001", "name": "events", "labels": { "cp.app": "1001" }, "service_id": "1001",
            "uri": "/api/events*", "enable_websocket": true, "priority": 2,
            "vars": [
                ["scheme", "==", "http"], ["http_x_client", "~~", "^mobile/"], ["arg_v", ">=", 2]
            ]
        })
    );
}

#[test]
fn each_operator_and_subject_has_its_condition() {
    let condition = |subject: &str, operator: &str, value: &str| {
        let expression =
            json!({ "subject": subject, "name": "a-B", "operator": operator, "value": value });
        let control = json!({ "enabled": true, "expressions": [expression] });
        route(&orders(&json!({})), &json!({ "fine_grained_route_control": control }))["vars"][0]
            .clone()
    };
    assert_eq!(condition("header", "equal", "5"), json!(["http_a_b", "==", "5"]));
    assert_eq!(condition("query", "not_equal", "x"), json!(["arg_a-B", "~=", "x"]));
    assert_eq!(condition("cookie", "regex_not_match", "x"), json!(["cookie_a-B", "!", "~~", "x"]));
    assert_eq!(condition("path", "present", ""), json!(["uri", "~=", null]));
    assert_eq!(condition("variable", "not_present", ""), json!(["a-B", "==", null]));
    assert_eq!(condition("path", "larger_than", "1.5"), json!(["uri", ">", 1.5]));
    assert_eq!(condition("path", "less_than", "-1"), json!(["uri", "<", -1]));
    assert_eq!(condition("path", "less_equal", "7"), json!(["uri", "<=", 7]));
}

#[test]
fn any_condition_may_be_enough() {
    let present = |name: &str| json!({ "subject": "header", "name": name, "operator": "present" });
    let vars = |protocols: Value, expressions: Value| {
        let control =
            json!({ "enabled": true, "logical_relationship": "Any", "expressions": expressions });
        let parent = orders(&json!({ "protocols": protocols }));
        route(&parent, &json!({ "fine_grained_route_control": control }))["vars"].clone()
    };
    let (a, b) = (json!(["http_a", "~=", null]), json!(["http_b", "~=", null]));
    assert_eq!(vars(json!([]), json!([present("a"), present("b")])), json!(["OR", a, b]));
    assert_eq!(vars(json!([]), json!([present("a")])), json!([a]));
    assert_eq!(
        vars(json!(["HTTP"]), json!([present("a"), present("b")])),
        json!([["scheme", "==", "http"], ["OR", a, b]])
    );
    assert_eq!(vars(json!([]), json!([])), json!(null));
}

#[test]
fn paths_below_a_prefix() {
    for (prefix, path, path_type, uri) in [
        ("/", "", "Prefix", "/*"),
        ("/", "", "Exact", "/"),
        ("/", "/products", "Prefix", "/products*"),
        ("/api", "", "Prefix", "/api*"),
        ("/api", "", "Exact", "/api"),
        ("/api/", "/", "Prefix", "/api/*"),
        ("/api", "*", "Exact", "/api/*"),
        ("/", "/*", "Prefix", "/*"),
    ] {
        let parent = orders(&json!({ "path_prefix": prefix }));
        let paths = json!([{ "path": path, "path_type": path_type }]);
        let document = route(&parent, &json!({ "paths": paths }));
        assert_eq!(document["uri"], uri, "{prefix} {path} {path_type}");
    }
}

#[test]
fn stripping_the_prefix_goes_along_with_a_rewrite_of_the_user() {
    let strip = |parent: &Value, own: &Value| {
        let parent = orders(&json!({ "path_prefix": "/a.b", "plugins": parent }));
        let own = route(&parent, &json!({ "strip_path_prefix": true, "plugins": own }));
        own["plugins"]["proxy-rewrite"].clone()
    };
    let regex = json!(["(?s)^/a\\.b(?:/(.*))?$", "/$1"]);
    let (nothing, host) = (json!({}), json!({ "proxy-rewrite": { "host": "x" } }));
    let merged = json!({ "host": "x", "regex_uri": regex });
    assert_eq!(strip(&nothing, &nothing), json!({ "regex_uri": regex }));
    assert_eq!(strip(&host, &nothing), merged);
    assert_eq!(strip(&nothing, &host), merged);
    let off = json!({ "proxy-rewrite": { "host": "x", "_meta": { "disable": true } } });
    assert_eq!(strip(&off, &nothing), json!({ "regex_uri": regex }));
    let fixed = json!({ "proxy-rewrite": { "uri": "/fixed" } });
    assert_eq!(strip(&fixed, &nothing), json!(null));

    let stripping = an_api(&json!({ "strip_path_prefix": true }));
    let why = warning(&orders(&json!({ "plugins": fixed })), &stripping);
    assert!(why.is_some_and(|text| text.contains("`strip_path_prefix`")));
    assert_eq!(warning(&orders(&json!({})), &stripping), None);
}
