//! Secrets that stand elsewhere: what refers to them works, and what cannot is reported and closed.

use gantry_testkit::Origin;
use serde_json::{Value, json};

use crate::harness::{Rig, route};

async fn status(rig: &Rig, path: &str, key: &str) -> u16 {
    let request = rig.gateway.client.get(rig.gateway.url(path)).header("apikey", key);
    request.send().await.unwrap().status().as_u16()
}

fn problems(state: &Value) -> Vec<&str> {
    let problems = state["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem["key"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn references_of_plugins_consumers_and_certificates_are_followed() {
    let origin = Origin::start("one").await;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    file("key", "k1\n");
    file("tls.json", &json!({"key": pair.signing_key.serialize_pem()}).to_string());
    let mut keyed = route("/keyed", origin.address);
    keyed["plugins"] = json!({"key-auth": {}});
    let mut told = route("/told", origin.address);
    // Cargo sets this variable for every test.
    let headers = json!({"set": {"x-secret": "$env://CARGO_PKG_NAME"}});
    told["plugins"] = json!({
        "proxy-rewrite": {"headers": headers},
        "limit-count": {"count": 100, "time_window": 60},
        "csrf": {"key": "$env://GANTRY_NO_SUCH_VARIABLE", "_meta": {"disable": true}},
    });
    let key = "$secret://file/1/tls.json/key";
    let rig = Rig::start(&[
        (
            "consumers/jack",
            json!({"username": "jack",
            "plugins": {"key-auth": {"key": "$secret://file/1/key"}}}),
        ),
        ("plugin_metadata/limit-count", json!({"limit_header": "$env://CARGO_PKG_NAME"})),
        ("routes/1", keyed),
        ("routes/2", told),
        ("secrets/file/1", json!({"id": "file/1", "path": directory.path()})),
        ("ssls/1", json!({"sni": "localhost", "cert": pair.cert.pem(), "key": key})),
    ])
    .await;
    assert_eq!(status(&rig, "/keyed", "k1").await, 200);
    assert_eq!(status(&rig, "/keyed", "$secret://file/1/key").await, 401);
    let seen = rig.gateway.echo("/told").await;
    assert_eq!(seen["headers"]["x-secret"], env!("CARGO_PKG_NAME"));
    let authority = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    let address = rig.gateway.bound.https.unwrap();
    let client = gantry_testkit::client::builder()
        .tls_certs_only([authority])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/told", address.port());
    let response = client.get(url).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[env!("CARGO_PKG_NAME")], "100");
    assert_eq!(problems(&rig.gateway.state().await), [""; 0]);
}

#[tokio::test]
async fn a_new_manager_is_asked_for_what_was_missing() {
    let origin = Origin::start("one").await;
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("key"), "k1").unwrap();
    let mut keyed = route("/keyed", origin.address);
    keyed["plugins"] = json!({"key-auth": {}});
    let consumer = json!({"username": "jack",
        "plugins": {"key-auth": {"key": "$secret://file/1/key"}}});
    let rig = Rig::start(&[("consumers/jack", consumer), ("routes/1", keyed)]).await;
    assert_eq!(status(&rig, "/keyed", "$secret://file/1/key").await, 401, "nobody has this key");
    assert_eq!(problems(&rig.gateway.state().await), ["/apisix/consumers/jack"]);
    rig.put("secrets/file/1", &json!({"id": "file/1", "path": directory.path()})).await;
    assert_eq!(status(&rig, "/keyed", "k1").await, 200);
    assert_eq!(problems(&rig.gateway.state().await), [""; 0]);
}

#[tokio::test]
async fn what_cannot_be_looked_up_closes_the_route_it_protects() {
    let origin = Origin::start("one").await;
    let mut guarded = route("/guarded", origin.address);
    guarded["plugins"] = json!({"csrf": {"key": "$secret://vault/1/k"}});
    let vault = json!({"id": "vault/1", "uri": "http://127.0.0.1", "prefix": "kv", "token": "t"});
    let rig = Rig::start(&[("routes/1", guarded), ("secrets/vault/1", vault)]).await;
    assert_eq!(rig.gateway.fetch("/guarded").await.0, 503);
    let state = rig.gateway.state().await;
    assert_eq!(problems(&state), ["/apisix/routes/1", "/apisix/secrets/vault/1"]);
    let reason = state["problems"][1]["reason"].as_str().unwrap();
    assert_eq!(reason, "secrets of the manager `vault` cannot be looked up here");
}
