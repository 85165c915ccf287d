//! Nodes that fall ill and recover, seen by probes and by requests.

use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    harness::{Rig, local},
    node::{Identity, NodeServer},
};

/// A route `/*` to an upstream of these nodes.
fn resources(nodes: &[&NodeServer], checks: &Value) -> [(&'static str, Value); 2] {
    [
        ("upstreams/1", upstream(nodes, checks)),
        ("routes/1", json!({"uri": "/*", "upstream_id": "1"})),
    ]
}

fn upstream(nodes: &[&NodeServer], checks: &Value) -> Value {
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|node| json!({"host": "127.0.0.1", "port": node.address.port(), "weight": 1}))
        .collect();
    json!({"nodes": nodes, "checks": checks})
}

/// What `/status` says of each node of the upstream, in the order of ports.
fn ups(state: &Value) -> Vec<(u64, bool)> {
    let nodes = state["health"][0]["nodes"].as_array().cloned().unwrap_or_default();
    nodes
        .iter()
        .map(|node| (node["port"].as_u64().unwrap(), node["up"].as_bool().unwrap()))
        .collect()
}

fn is(node: &NodeServer, up: bool) -> impl Fn(&Value) -> bool {
    let port = u64::from(node.address.port());
    move |state| ups(state).contains(&(port, up))
}

async fn requests(rig: &Rig, count: usize) {
    for _ in 0..count {
        rig.gateway.fetch("/").await;
    }
}

/// Active checks that look every second and believe the first answer.
fn probes(more: &Value) -> Value {
    let mut active = json!({"http_path": "/health",
        "healthy": {"interval": 1, "successes": 1},
        "unhealthy": {"interval": 1, "http_failures": 1, "tcp_failures": 1, "timeouts": 1}});
    active.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"active": active})
}

#[tokio::test]
async fn a_node_that_fails_its_probes_gets_no_requests_until_it_recovers() {
    let (one, two) = (NodeServer::start(None).await, NodeServer::start(None).await);
    let checks = probes(&json!({"host": "shop.com", "req_headers": ["X-Probe: yes"]}));
    let rig = Rig::start(&resources(&[&one, &two], &checks)).await;
    rig.gateway.until(|state| ups(state).iter().filter(|(_, up)| *up).count() == 2).await;
    one.set_health(500);
    rig.gateway.until(is(&one, false)).await;
    requests(&rig, 10).await;
    assert_eq!((one.take_requests(), two.take_requests()), (0, 10));
    let probe = one.probes().remove(0);
    assert!(probe.starts_with("GET /health HTTP/1.1\r\n"), "{probe}");
    for line in ["Connection: close\r\n", "Host: shop.com\r\n", "X-Probe: yes\r\n"] {
        assert!(probe.contains(line), "{probe}");
    }
    let (_, metrics) = rig.gateway.status("/apisix/prometheus/metrics").await;
    for (node, up) in [(&one, 0), (&two, 1)] {
        let line = format!(
            "apisix_upstream_status{{name=\"/apisix/upstreams/1\",ip=\"127.0.0.1\",port=\"{}\"}} {up}\n",
            node.address.port()
        );
        assert!(metrics.contains(&line), "{metrics}");
    }
    two.set_health(503);
    rig.gateway.until(is(&two, false)).await;
    requests(&rig, 10).await;
    assert_eq!((one.take_requests(), two.take_requests()), (5, 5), "all are down: all are used");
    one.set_health(302);
    rig.gateway.until(is(&one, true)).await;
    requests(&rig, 10).await;
    assert_eq!((one.take_requests(), two.take_requests()), (10, 0));
}

#[tokio::test]
async fn a_status_in_neither_list_says_nothing() {
    let (one, two) = (NodeServer::start(None).await, NodeServer::start(None).await);
    one.set_health(418);
    two.set_health(404);
    let rig = Rig::start(&resources(&[&one, &two], &probes(&json!({})))).await;
    rig.gateway.until(is(&two, false)).await;
    assert!(is(&one, true)(&rig.gateway.state().await));
    assert!(!one.probes().is_empty());
}

#[tokio::test]
async fn connections_tell_where_nobody_speaks_http() {
    let one = NodeServer::start(None).await;
    let silent = TcpListener::bind(local()).await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let gone = TcpListener::bind(local()).await.unwrap().local_addr().unwrap().port();
    let node = |port: u16| json!({"host": "127.0.0.1", "port": port, "weight": 1});
    let nodes = json!([node(one.address.port()), node(silent_port), node(gone)]);
    let with = |checks: Value| json!({"nodes": nodes, "checks": checks});
    let rig = Rig::start(&[("upstreams/1", with(probes(&json!({"type": "tcp"}))))]).await;
    let down = |state: &Value| -> Vec<u64> {
        ups(state).into_iter().filter(|(_, up)| !up).map(|(port, _)| port).collect()
    };
    rig.gateway.until(|state| down(state) == [u64::from(gone)]).await;
    // Over HTTP the silent one times out.
    rig.put("upstreams/1", &with(probes(&json!({"timeout": 0.2})))).await;
    let mut both = [u64::from(gone), u64::from(silent_port)];
    both.sort_unstable();
    rig.gateway.until(|state| down(state) == both).await;
}

#[tokio::test]
async fn probes_over_tls_verify_the_certificate_if_they_shall() {
    let identity = Identity::new();
    let trusted = NodeServer::start(Some(identity.acceptor())).await;
    let rig = Rig::start(&resources(&[&trusted], &probes(&json!({"type": "https"})))).await;
    rig.gateway.until(is(&trusted, false)).await;
    assert!(trusted.probes().is_empty(), "nothing is sent to a stranger");
    let checks = probes(&json!({"type": "https", "https_verify_certificate": false}));
    rig.put("upstreams/1", &upstream(&[&trusted], &checks)).await;
    rig.gateway.until(|_| !trusted.probes().is_empty()).await;
    assert!(is(&trusted, true)(&rig.gateway.state().await));
}

#[tokio::test]
async fn the_port_of_a_host_is_for_the_header_only() {
    let node = NodeServer::start(Some(Identity::new().acceptor())).await;
    let checks = probes(&json!({"type": "https", "https_verify_certificate": false,
        "host": "localhost:8443"}));
    let rig = Rig::start(&resources(&[&node], &checks)).await;
    rig.gateway.until(|state| !node.probes().is_empty() || is(&node, false)(state)).await;
    let probe = node.probes().remove(0);
    assert!(probe.contains("Host: localhost:8443\r\n"), "{probe}");
}

/// Probes so rare that only requests tell; they believe the second failure.
fn passive() -> Value {
    json!({
        "active": {"type": "tcp", "healthy": {"interval": 3600}, "unhealthy": {"interval": 3600}},
        "passive": {
            "healthy": {"successes": 1},
            "unhealthy": {"http_failures": 2, "tcp_failures": 2, "timeouts": 2},
        },
    })
}

#[tokio::test]
async fn requests_tell_too_and_what_they_told_survives_a_change_of_nodes() {
    let (one, two) = (NodeServer::start(None).await, NodeServer::start(None).await);
    let rig = Rig::start(&resources(&[&one, &two], &passive())).await;
    one.set_status(500);
    requests(&rig, 4).await;
    assert!(is(&one, false)(&rig.gateway.state().await), "two failures in a row");
    one.take_requests();
    requests(&rig, 4).await;
    assert_eq!(one.take_requests(), 0);
    let three = NodeServer::start(None).await;
    rig.put("upstreams/1", &upstream(&[&one, &two, &three], &passive())).await;
    let state = rig.gateway.state().await;
    assert!(is(&one, false)(&state) && is(&three, true)(&state), "{state}");
    // Other checks begin with a clean slate.
    let mut checks = passive();
    checks["passive"]["unhealthy"]["http_failures"] = json!(3);
    rig.put("upstreams/1", &upstream(&[&one, &two], &checks)).await;
    assert!(is(&one, true)(&rig.gateway.state().await));
    let revision = rig.etcd.delete("upstreams/1");
    rig.gateway.applied(revision).await;
    assert_eq!(rig.gateway.state().await["health"], json!([]), "gone with the upstream");
}

#[tokio::test]
async fn failed_tries_count_as_failures_of_the_connection() {
    let one = NodeServer::start(None).await;
    let gone = TcpListener::bind(local()).await.unwrap().local_addr().unwrap();
    let nodes = json!([
        {"host": "127.0.0.1", "port": gone.port(), "weight": 1, "priority": 1},
        {"host": "127.0.0.1", "port": one.address.port(), "weight": 1},
    ]);
    let upstream = json!({"nodes": nodes, "checks": passive()});
    let rig = Rig::start(&[("routes/1", json!({"uri": "/*", "upstream": upstream}))]).await;
    for down in [false, false, true] {
        let state = rig.gateway.state().await;
        let is_up = ups(&state).contains(&(u64::from(gone.port()), true));
        assert_eq!(is_up, !down, "{state}");
        assert_eq!(rig.gateway.fetch("/").await.0, 200);
    }
    let response = rig.gateway.get("localhost", "/").await;
    assert!(response.headers().get("x-apisix-upstream-status").is_none(), "one try is enough");
}
