//! `_meta.filter`: asked when the plugin's own turn comes, so that it sees what is known by then.

use gantry_testkit::Origin;
use serde_json::{Value, json};

use crate::harness::{Rig, route};

fn with(uri: &str, origin: &Origin, plugins: Value) -> Value {
    let mut route = route(uri, origin.address);
    route["plugins"] = plugins;
    route
}

fn person(name: &str) -> Value {
    json!({"username": name, "plugins": {"key-auth": {"key": name}}})
}

/// Shuts everybody out whom the filter lets in.
fn shut(filter: &Value) -> Value {
    json!({"ip-restriction": {"whitelist": ["192.0.2.1"], "_meta": {"filter": filter}}})
}

#[tokio::test]
async fn access_control_sees_who_the_consumer_is_also_in_a_global_rule() {
    let origin = Origin::start("one").await;
    let mut plugins = shut(&json!([["consumer_name", "==", "partner"]]));
    plugins["key-auth"] = json!({});
    let keyed = json!({"key-auth": {}});
    let global = shut(&json!([["consumer_name", "==", "partner"], ["uri", "==", "/global"]]));
    let rig = Rig::start(&[
        ("consumers/partner", person("partner")),
        ("consumers/guest", person("guest")),
        ("routes/1", with("/own", &origin, plugins)),
        ("routes/2", with("/global", &origin, keyed)),
        ("global_rules/1", json!({"id": "1", "plugins": global})),
    ])
    .await;
    for (path, key, status) in [
        ("/own", "partner", 403),
        ("/own", "guest", 200),
        ("/global", "partner", 403),
        ("/global", "guest", 200),
    ] {
        let request = rig.gateway.client.get(rig.gateway.url(path)).header("apikey", key);
        assert_eq!(request.send().await.unwrap().status(), status, "{path} {key}");
    }
}

#[tokio::test]
async fn what_changes_responses_sees_their_status() {
    let origin = Origin::start("one").await;
    let rewriting = |status: u16| {
        json!({"response-rewrite": {"headers": {"set": {"X-Seen": "$status"}},
            "_meta": {"filter": [["status", "==", status]]}}})
    };
    let rig = Rig::start(&[
        ("routes/1", with("/200", &origin, rewriting(200))),
        ("routes/2", with("/404", &origin, rewriting(404))),
    ])
    .await;
    let seen =
        async |path: &str| rig.gateway.get("a.com", path).await.headers().contains_key("x-seen");
    assert!(seen("/200").await && !seen("/404").await);
}

#[tokio::test]
async fn what_only_logs_sees_everything_also_requests_that_came_to_nothing() {
    let counted = json!({"prometheus": {"_meta": {"filter": [["status", "in", ["400", "404"]]]}}});
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[
        ("routes/1", route("/a", origin.address)),
        ("global_rules/1", json!({"id": "1", "plugins": counted})),
    ])
    .await;
    for (path, status) in [("/a", 200), ("/nowhere", 404), ("/%00", 400)] {
        assert_eq!(rig.gateway.fetch(path).await.0, status, "{path}");
    }
    // Requests are counted after their answers.
    loop {
        let (_, metrics) = rig.gateway.status("/apisix/prometheus/metrics").await;
        let counts =
            |status: u16| metrics.contains(&format!("apisix_http_status{{code=\"{status}\""));
        assert!(!counts(200), "{metrics}");
        if counts(400) && counts(404) {
            return;
        }
    }
}
