//! How nodes are chosen, asked and given up.

use futures::{SinkExt, StreamExt};
use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::harness::{Rig, local, route};

/// An address at which nobody listens.
async fn dead() -> String {
    let listener = TcpListener::bind(local()).await.unwrap();
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn weights_hold_over_a_cycle() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let nodes = json!({one.address.to_string(): 3, two.address.to_string(): 1});
    let rig = Rig::start(&[("routes/1", json!({"uri": "/", "upstream": {"nodes": nodes}}))]).await;
    for _ in 0..40 {
        rig.gateway.echo("/").await;
    }
    assert_eq!((one.requests(), two.requests()), (30, 10));
}

#[tokio::test]
async fn dead_nodes_are_passed_over_and_only_retries_allow_it() {
    let origin = Origin::start("one").await;
    let nodes = json!({dead().await: 1, origin.address.to_string(): 1});
    let rig = Rig::start(&[
        ("routes/1", json!({"uri": "/a", "upstream": {"nodes": nodes}})),
        ("routes/2", json!({"uri": "/b", "upstream": {"nodes": {dead().await: 1}}})),
        ("routes/3", json!({"uri": "/c", "upstream": {"nodes": nodes, "retries": 0}})),
    ])
    .await;
    for _ in 0..4 {
        assert_eq!(rig.gateway.fetch("/a").await.0, 200);
    }
    let response = rig.gateway.get("localhost", "/b").await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-apisix-upstream-status"], "502");
    assert!(response.text().await.unwrap().contains("<h1>502 Bad Gateway</h1>"));
    let mut statuses = [rig.gateway.fetch("/c").await.0, rig.gateway.fetch("/c").await.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 502]);
}

#[tokio::test]
async fn an_upstream_that_keeps_silent_is_a_timeout() {
    let silent = TcpListener::bind(local()).await.unwrap();
    let mut slow = route("/", silent.local_addr().unwrap());
    slow["timeout"] = json!({"connect": 1, "send": 1, "read": 0.2});
    let rig = Rig::start(&[("routes/1", slow)]).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 504);
}

#[tokio::test]
async fn without_time_for_another_try_the_answer_is_a_502() {
    let silent = TcpListener::bind(local()).await.unwrap();
    let other = TcpListener::bind(local()).await.unwrap();
    let nodes = json!({
        silent.local_addr().unwrap().to_string(): 1,
        other.local_addr().unwrap().to_string(): 1,
    });
    let upstream = json!({"nodes": nodes, "retry_timeout": 0.1,
        "timeout": {"connect": 1, "send": 1, "read": 0.2}});
    let rig = Rig::start(&[("routes/1", json!({"uri": "/", "upstream": upstream}))]).await;
    let response = rig.gateway.get("localhost", "/").await;
    assert_eq!(response.status(), 502);
    assert_eq!(response.headers()["x-apisix-upstream-status"], "504");
}

#[tokio::test]
async fn the_upstream_sees_the_host_it_shall_see() {
    let origin = Origin::start("one").await;
    let node = origin.address.to_string();
    let with = |mode: Value| {
        let mut upstream = json!({"nodes": {node.clone(): 1}});
        upstream.as_object_mut().unwrap().extend(mode.as_object().unwrap().clone());
        upstream
    };
    let named = json!([{"host": "localhost", "port": origin.address.port(), "weight": 1}]);
    let rig = Rig::start(&[
        ("routes/1", json!({"uri": "/pass", "upstream": with(json!({}))})),
        ("routes/2", json!({"uri": "/node", "upstream": with(json!({"pass_host": "node"}))})),
        (
            "routes/3",
            json!({"uri": "/new", "upstream": with(json!({"pass_host": "rewrite", "upstream_host": "new.com"}))}),
        ),
        ("routes/4", json!({"uri": "/name", "upstream": {"nodes": named, "pass_host": "node"}})),
    ])
    .await;
    let named = format!("localhost:{}", origin.address.port());
    for (path, host) in
        [("/pass", "localhost"), ("/node", &*node), ("/new", "new.com"), ("/name", &*named)]
    {
        assert_eq!(rig.gateway.echo(path).await["headers"]["host"], host, "{path}");
    }
}

#[tokio::test]
async fn websockets_pass_where_they_are_allowed() {
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
                while let Some(Ok(message)) = socket.next().await {
                    if socket.send(message).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
    let mut open = route("/open", address);
    open["enable_websocket"] = json!(true);
    let rig = Rig::start(&[("routes/1", open), ("routes/2", route("/shut", address))]).await;
    let request =
        |path: &str| rig.gateway.url(path).replace("http:", "ws:").into_client_request().unwrap();
    let (mut socket, _) = tokio_tungstenite::connect_async(request("/open")).await.unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    assert!(tokio_tungstenite::connect_async(request("/shut")).await.is_err());
}
