//! Plugins that have to protect something and cannot: whatever they stand beside, nothing passes.

use gantry_testkit::Origin;
use serde_json::{Value, json};

use crate::harness::{Rig, route};

fn with(uri: &str, origin: &Origin, plugins: Value) -> Value {
    let mut route = route(uri, origin.address);
    route["plugins"] = plugins;
    route
}

async fn status(rig: &Rig, path: &str, key: &str) -> u16 {
    let request = rig.gateway.client.get(rig.gateway.url(path)).header("apikey", key);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_consumers_broken_plugin_does_not_displace_the_routes() {
    let origin = Origin::start("one").await;
    let person = |name: &str, restriction: Value| {
        json!({"username": name,
        "plugins": {"key-auth": {"key": name}, "ip-restriction": restriction}})
    };
    let guarded = json!({"key-auth": {}, "ip-restriction": {"whitelist": ["127.0.0.0/8"]}});
    let rig = Rig::start(&[
        ("consumers/whole", person("whole", json!({"whitelist": ["127.0.0.1"]}))),
        ("consumers/broken", person("broken", json!({"whitelist": 7}))),
        ("routes/1", with("/", &origin, guarded)),
    ])
    .await;
    assert_eq!(status(&rig, "/", "whole").await, 200);
    assert_eq!(status(&rig, "/", "broken").await, 503);
}

#[tokio::test]
async fn broken_plugins_of_global_rules_do_not_cancel_each_other() {
    let origin = Origin::start("one").await;
    let rule = |id: &str, plugins: Value| json!({"id": id, "plugins": plugins});
    let rig = Rig::start(&[
        ("routes/1", route("/", origin.address)),
        ("global_rules/1", rule("1", json!({"my-auth": {}}))),
        ("global_rules/2", rule("2", json!({"my-firewall": {}}))),
    ])
    .await;
    assert_eq!(rig.gateway.fetch("/").await.0, 503);
    let open = json!({"ip-restriction": {"whitelist": ["127.0.0.1"]}});
    rig.put("global_rules/1", &rule("1", open.clone())).await;
    rig.put("global_rules/2", &rule("2", json!({"ip-restriction": {"whitelist": 7}}))).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 503, "one of two is broken");
    rig.put("global_rules/2", &rule("2", open)).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 200, "a repeated one runs for none");
    assert_eq!(rig.gateway.state().await["problems"][0]["key"], "/apisix/global_rules");
}

#[tokio::test]
async fn what_protects_closes_its_place_and_everything_that_cannot_run_is_told() {
    let origin = Origin::start("one").await;
    let cases = [
        ("limit-count", json!({"count": "many", "time_window": 60, "policy": "redis"}), 503),
        ("limit-req", json!({"rate": 0, "burst": 1, "key": "remote_addr"}), 503),
        ("limit-conn", json!({"conn": 0}), 503),
        ("workflow", json!({"rules": [{"actions": [["no-such-action", {}]]}]}), 503),
        ("request-validation", json!({"body_schema": 7}), 503),
        ("client-control", json!({"max_body_size": "a lot"}), 503),
        ("real-ip", json!({}), 503),
        ("cors", json!({"max_age": "long"}), 503),
        ("csrf", json!({}), 503),
        ("traffic-split", json!({"rules": 7}), 200),
        ("proxy-rewrite", json!({"uri": 7}), 200),
        ("redirect", json!({"uri": "/a", "http_to_https": true}), 200),
        ("api-breaker", json!({"break_response_code": 7}), 200),
        ("http-logger", json!({}), 200),
    ];
    let mut resources = Vec::new();
    for (number, (name, config, _)) in cases.iter().enumerate() {
        let key = format!("routes/{number}");
        resources.push((key, with(&format!("/{name}"), &origin, json!({*name: config}))));
    }
    let resources: Vec<_> = resources.iter().map(|(key, it)| (&**key, it.clone())).collect();
    let rig = Rig::start(&resources).await;
    let state = rig.gateway.state().await;
    for (number, (name, _, expected)) in cases.iter().enumerate() {
        assert_eq!(rig.gateway.fetch(&format!("/{name}")).await.0, *expected, "{name}");
        let key = format!("/apisix/routes/{number}");
        let mut problems = state["problems"].as_array().unwrap().iter();
        let told = problems.find(|problem| problem["key"] == *key).unwrap();
        let reason = told["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("plugin `{name}`: ")), "{reason}");
    }
}

#[tokio::test]
async fn a_plugin_nobody_knows_closes_nothing_while_it_is_switched_off() {
    let origin = Origin::start("one").await;
    let custom = |disable: bool| json!({"my-plugin": {"any": 1, "_meta": {"disable": disable}}});
    let rig = Rig::start(&[
        ("routes/1", with("/off", &origin, custom(true))),
        ("routes/2", with("/on", &origin, custom(false))),
    ])
    .await;
    assert_eq!(rig.gateway.fetch("/off").await.0, 200);
    assert_eq!(rig.gateway.fetch("/on").await.0, 503);
    assert_eq!(rig.gateway.state().await["problems"].as_array().unwrap().len(), 2, "both are told");
}

#[tokio::test]
async fn nobody_authenticates_a_second_time_for_a_group() {
    let origin = Origin::start("one").await;
    let jack = json!({"username": "jack", "group_id": "g",
        "plugins": {"basic-auth": {"username": "jack", "password": "secret"}}});
    let group = json!({"id": "g", "plugins": {"key-auth": {},
        "response-rewrite": {"headers": {"set": {"X-Group": "g"}}}}});
    let rig = Rig::start(&[
        ("consumer_groups/g", group),
        ("consumers/jack", jack),
        ("routes/1", with("/", &origin, json!({"basic-auth": {}}))),
    ])
    .await;
    let request = rig.gateway.client.get(rig.gateway.url("/")).basic_auth("jack", Some("secret"));
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-group"]),
        (200, &"g".parse().unwrap())
    );
}
