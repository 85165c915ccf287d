//! Changes, bad resources and outages under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gantry_testkit::Origin;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::harness::{Rig, route};

#[tokio::test]
async fn a_swap_under_load_never_gives_a_wrong_answer() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let rig = Arc::new(Rig::start(&[("routes/1", route("/*", one.address))]).await);
    let done = CancellationToken::new();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (rig, done) = (Arc::clone(&rig), done.clone());
            tokio::spawn(async move {
                let mut count = 0;
                while !done.is_cancelled() {
                    let name = rig.gateway.echo("/x").await["name"].clone();
                    assert!(name == "one" || name == "two");
                    count += 1;
                }
                count
            })
        })
        .collect();
    for turn in 0..50 {
        let (origin, name) = if turn % 2 == 0 { (&two, "two") } else { (&one, "one") };
        rig.put("routes/1", &route("/*", origin.address)).await;
        assert_eq!(rig.gateway.echo("/x").await["name"], name, "applied means in force");
    }
    done.cancel();
    for client in clients {
        assert!(client.await.unwrap() > 0);
    }
}

#[tokio::test]
async fn a_bad_resource_affects_only_itself_until_it_is_mended() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[
        ("routes/1", route("/a", origin.address)),
        ("routes/2", route("/b", origin.address)),
    ])
    .await;
    rig.put("routes/1", &json!({"uri": 7})).await;
    rig.etcd.put_text("routes/3", "not json");
    let revision = rig.etcd.put("routes/4", &route("/d", origin.address));
    rig.gateway.applied(revision).await;
    for path in ["/a", "/b", "/d"] {
        assert_eq!(rig.gateway.fetch(path).await.0, 200, "{path}");
    }
    let state = rig.gateway.state().await;
    let keys: Vec<_> = state["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| problem["key"].clone())
        .collect();
    assert_eq!(keys, ["/apisix/routes/1", "/apisix/routes/3"]);
    rig.put("routes/1", &route("/c", origin.address)).await;
    let revision = rig.etcd.delete("routes/3");
    rig.gateway.applied(revision).await;
    assert_eq!(rig.gateway.state().await["problems"], json!([]));
    assert_eq!(rig.gateway.fetch("/a").await.0, 404);
    assert_eq!(rig.gateway.fetch("/c").await.0, 200);
}

#[tokio::test]
async fn a_protecting_plugin_that_cannot_run_closes_its_route() {
    let origin = Origin::start("one").await;
    let with = |uri: &str, plugins| {
        let mut route = route(uri, origin.address);
        route["plugins"] = plugins;
        route
    };
    let rig = Rig::start(&[
        ("routes/1", with("/unknown", json!({"no-such-plugin": {}}))),
        ("routes/2", with("/auth", json!({"ldap-auth": {"base_dn": "dc=a", "ldap_uri": "a:1"}}))),
        ("routes/3", with("/other", json!({"degraphql": {"query": "{ a }"}}))),
    ])
    .await;
    assert_eq!(rig.gateway.fetch("/unknown").await.0, 503);
    assert_eq!(rig.gateway.fetch("/auth").await.0, 503);
    assert_eq!(rig.gateway.fetch("/other").await.0, 200);
    assert_eq!(rig.gateway.state().await["problems"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn two_consumers_with_one_key_are_a_problem_that_names_both() {
    let jack = json!({"username": "jack", "plugins": {"key-auth": {"key": "same"}}});
    let jill = json!({"username": "jill", "plugins": {"key-auth": {"key": "same"}}});
    let rig = Rig::start(&[("consumers/jack", jack), ("consumers/jill", jill)]).await;
    let state = rig.gateway.state().await;
    let problem = &state["problems"][0];
    assert_eq!(problem["key"], "/apisix/consumers");
    let reason = problem["reason"].as_str().unwrap();
    assert!(reason.starts_with("/apisix/consumers/jack and /apisix/consumers/jill "), "{reason}");
    assert!(!state.to_string().contains("same\""), "a key is a secret");
    let revision = rig.etcd.delete("consumers/jack");
    rig.gateway.applied(revision).await;
    assert_eq!(rig.gateway.state().await["problems"], json!([]));
}

#[tokio::test]
async fn monitoring_reads_how_the_gateway_is() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a", origin.address))]).await;
    rig.gateway.until(|state| state["source_reachable"] == true).await;
    rig.gateway.echo("/a").await;
    rig.gateway.fetch("/none").await;
    // A request is counted after its last byte, so the first look may come too early.
    let mut text = String::new();
    while !text.contains("\napisix_http_requests_total 2\n") {
        text = rig.gateway.status("/apisix/prometheus/metrics").await.1;
    }
    for line in [
        "apisix_etcd_reachable 1",
        "apisix_etcd_modify_indexes{key=\"max_modify_index\"} 2",
        "apisix_nginx_http_current_connections{state=\"accepted\"} 1",
        "apisix_nginx_http_current_connections{state=\"active\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(text.contains("\napisix_node_info{hostname=\""));
}

#[tokio::test]
async fn the_gateway_serves_on_while_the_source_is_away_and_then_catches_up() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a", origin.address))]).await;
    rig.stop_etcd.cancel();
    rig.gateway.until(|state| state["source_reachable"] == false).await;
    assert_eq!(rig.gateway.fetch("/a").await.0, 200);
    // What happened meanwhile is partly out of history.
    rig.etcd.delete("routes/1");
    rig.etcd.compact();
    let revision = rig.etcd.put("routes/2", &route("/b", origin.address));
    rig.etcd.serve(rig.etcd_address, CancellationToken::new()).await;
    rig.gateway.applied(revision).await;
    assert_eq!(rig.gateway.fetch("/a").await.0, 404);
    assert_eq!(rig.gateway.fetch("/b").await.0, 200);
}

/// A backend that can die, with all its connections.
fn mortal() -> (tokio::runtime::Runtime, SocketAddr) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let origin = std::thread::scope(|scope| {
        scope.spawn(|| runtime.block_on(Origin::start("mortal"))).join().unwrap()
    });
    (runtime, origin.address)
}

/// The death of a node under load is nobody's business but the gateway's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_do_not_notice_that_a_node_dies() {
    let (runtime, dying) = mortal();
    let living = Origin::start("living").await;
    let nodes = json!({ dying.to_string(): 1, living.address.to_string(): 1 });
    let rig =
        Rig::start(&[("routes/1", json!({ "uri": "/", "upstream": { "nodes": nodes } }))]).await;
    let (client, url) = (rig.gateway.client.clone(), rig.gateway.url("/"));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, url, answered) = (client.clone(), url.clone(), Arc::clone(&answered));
            tokio::spawn(async move {
                while answered.fetch_add(1, Ordering::Relaxed) < 4_000 {
                    let answer = client.get(&url).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answer.bytes().await.expect("a whole answer");
                }
            })
        })
        .collect();
    while answered.load(Ordering::Relaxed) < 1_000 {
        tokio::task::yield_now().await;
    }
    runtime.shutdown_background();
    for client in clients {
        client.await.unwrap();
    }
    assert!(living.requests() > 2_000, "the living node took over");
}
