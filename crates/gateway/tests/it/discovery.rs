//! Upstreams whose nodes a registry or the name system knows.

use std::time::{Duration, Instant};

use gantry_testkit::Origin;
use serde_json::{Value, json};

use crate::{
    harness::Rig,
    kubernetes::{ApiServer, TOKEN},
};

/// Asks until the answer is as wanted: its status, and who answered.
async fn until(rig: &Rig, wanted: (u16, Option<&str>)) {
    let start = Instant::now();
    loop {
        let (status, body) = rig.gateway.fetch("/").await;
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        if (status, body["name"].as_str()) == wanted {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "still {status} {body}");
        tokio::task::yield_now().await;
    }
}

fn registry(server: &ApiServer, client: &Value) -> Value {
    json!({
        "id": "4001",
        "service": {"schema": "https", "host": "127.0.0.1",
            "port": server.address.port().to_string(), "ssl_verify": true, "ca": server.certificate},
        "client": client,
        "namespace_selector": {"match": ["sho."]},
        "label_selector": "tier in (web,shop)",
    })
}

fn route() -> Value {
    let upstream = json!({"discovery_type": "kubernetes", "service_name": "4001/shop/orders:http"});
    json!({"uri": "/", "upstream": upstream})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_follow_the_endpoints_of_a_service() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let server = ApiServer::start().await;
    server.put("a", one.address);
    server.put("b", one.address);
    let client = json!({"token": TOKEN});
    let rig = Rig::start(&[
        ("cluster_registries/4001", registry(&server, &client)),
        ("routes/1", route()),
    ])
    .await;
    until(&rig, (200, Some("one"))).await;
    assert_eq!(rig.gateway.state().await["problems"], json!([]));
    let states = json!([{"id": "4001", "synced": true, "error": null}]);
    assert_eq!(rig.gateway.state().await["registries"], states);
    let first = server.queries().remove(0);
    assert_eq!(first, "labelSelector=tier+in+%28web%2Cshop%29&limit=500");

    server.put("a", two.address);
    server.delete("b");
    until(&rig, (200, Some("two"))).await;
    for _ in 0..4 {
        assert_eq!(rig.gateway.echo("/").await["name"], "two");
    }

    // A watch that breaks is taken up where the last bookmark was, although all before is forgotten.
    server.bookmark();
    server.delivered(5).await;
    server.compact();
    server.go_down().await;
    server.put("a", one.address);
    server.come_up();
    until(&rig, (200, Some("one"))).await;
    assert_eq!(server.asked().0, 1, "one list was enough");
    assert!(server.asked().1.contains(&"5".to_owned()), "{:?}", server.asked());

    // What was missed while the server forgot is read from a new list.
    server.go_down().await;
    server.delete("a");
    server.put("c", two.address);
    server.compact();
    server.come_up();
    until(&rig, (200, Some("two"))).await;
    assert_eq!(server.asked().0, 2);
    server.delete("c");
    until(&rig, (503, None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_comes_and_goes_and_a_token_is_read_anew() {
    let one = Origin::start("one").await;
    let server = ApiServer::start().await;
    server.put("a", one.address);
    let rig = Rig::start(&[("routes/1", route())]).await;
    until(&rig, (503, None)).await;
    let file = rig.directory.path().join("token");
    std::fs::write(&file, "an old token\n").unwrap();
    let client = json!({"token_file": file.to_str().unwrap()});
    rig.put("cluster_registries/4001", &registry(&server, &client)).await;
    rig.gateway
        .until(|state| state["registries"][0]["error"] == "the server answers 401 Unauthorized")
        .await;
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    until(&rig, (200, Some("one"))).await;
    let revision = rig.etcd.delete("cluster_registries/4001");
    rig.gateway.applied(revision).await;
    until(&rig, (503, None)).await;
    rig.put("cluster_registries/4001", &json!({"service": {}})).await;
    let problem = &rig.gateway.state().await["problems"][0];
    assert_eq!(problem["key"], "/apisix/cluster_registries/4001");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_name_system_knows_nodes_too() {
    let one = Origin::start("one").await;
    let name = format!("localhost:{}", one.address.port());
    let upstream = json!({"discovery_type": "dns", "service_name": name});
    let unknown = json!({"discovery_type": "eureka", "service_name": "A"});
    let rig = Rig::start(&[
        ("routes/1", json!({"uri": "/", "upstream": upstream})),
        ("routes/2", json!({"uri": "/b", "upstream": unknown})),
    ])
    .await;
    until(&rig, (200, Some("one"))).await;
    assert_eq!(rig.gateway.fetch("/b").await.0, 503);
    let reason = "discovery by `eureka` is not supported: there are no nodes";
    assert_eq!(rig.gateway.state().await["problems"][0]["reason"], reason);
}
