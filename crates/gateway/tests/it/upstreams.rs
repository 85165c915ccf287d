//! How nodes are chosen, asked and given up.

use futures::{SinkExt, StreamExt};
use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::{
    harness::{Rig, local, route},
    node::NodeServer,
};

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
async fn what_was_sent_is_repeated_only_if_that_does_no_harm() {
    let (silent, other) =
        (TcpListener::bind(local()).await.unwrap(), TcpListener::bind(local()).await.unwrap());
    let nodes = json!({silent.local_addr().unwrap().to_string(): 1,
        other.local_addr().unwrap().to_string(): 1});
    let upstream = json!({"nodes": nodes, "timeout": {"connect": 1, "send": 1, "read": 0.2}});
    let as_method = |uri: &str, method: &str| json!({"uri": uri, "upstream": upstream, "plugins": {"proxy-rewrite": {"method": method}}});
    let rig = Rig::start(&[
        ("routes/1", as_method("/post", "POST")),
        ("routes/2", as_method("/get", "GET")),
    ])
    .await;
    let client = &rig.gateway.client;
    for (request, tries) in [
        (client.get(rig.gateway.url("/post")), "504"),
        (client.post(rig.gateway.url("/get")), "504, 504"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["x-apisix-upstream-status"], tries);
    }
}

#[tokio::test]
async fn a_node_that_is_alone_is_asked_as_often_as_somebody_has_said() {
    let alone = |uri: &str, node: Value, retries: Value| {
        let mut upstream = json!({"nodes": node});
        if !retries.is_null() {
            upstream["retries"] = retries;
        }
        json!({"uri": uri, "upstream": upstream})
    };
    let dead = json!({dead().await: 1});
    let nameless = json!({"no-such-host.invalid:80": 1});
    let rig = Rig::start(&[
        ("routes/1", alone("/thrice", dead.clone(), json!(2))),
        ("routes/2", alone("/once", dead, json!(null))),
        ("routes/3", alone("/nameless", nameless, json!(2))),
    ])
    .await;
    for (path, tries) in [("/thrice", "502, 502, 502"), ("/once", "502")] {
        let response = rig.gateway.get("localhost", path).await;
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["x-apisix-upstream-status"], tries);
    }
    assert_eq!(rig.gateway.fetch("/nameless").await.0, 503);
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
async fn the_same_key_leads_to_the_same_node() {
    let (one, two) = (Origin::start("one").await, Origin::start("two").await);
    let nodes = json!({one.address.to_string(): 1, two.address.to_string(): 1});
    let hashed = |uri: &str, on: &str, key: &str| {
        let mut upstream = json!({"nodes": nodes, "type": "chash", "hash_on": on});
        if !key.is_empty() {
            upstream["key"] = json!(key);
        }
        json!({"uri": uri, "upstream": upstream})
    };
    let mut consumer = hashed("/consumer", "consumer", "");
    consumer["plugins"] = json!({"key-auth": {}});
    let person = |name: &str| json!({"username": name, "plugins": {"key-auth": {"key": name}}});
    let people: Vec<String> = (0..12).map(|number| format!("key{number}")).collect();
    let rig = Rig::start(&[
        ("routes/1", hashed("/header", "header", "X-User-Id")),
        ("routes/2", hashed("/cookie", "cookie", "session")),
        ("routes/3", hashed("/vars", "vars", "arg_user")),
        ("routes/4", hashed("/both", "vars_combinations", "$arg_user$http_x_user_id")),
        ("routes/5", consumer),
    ])
    .await;
    for name in &people {
        rig.put(&format!("consumers/{name}"), &person(name)).await;
    }
    let ask = async |path: &str, key: &str| {
        let request = rig.gateway.client.get(rig.gateway.url(&format!("{path}?user={key}")));
        let request = request.header("X-User-Id", key).header("Cookie", format!("session={key}"));
        let seen: Value = request.header("apikey", key).send().await.unwrap().json().await.unwrap();
        seen["name"].as_str().unwrap().to_owned()
    };
    for path in ["/header", "/cookie", "/vars", "/both", "/consumer"] {
        let mut used = std::collections::BTreeSet::new();
        for key in &people {
            let node = ask(path, key).await;
            assert_eq!(ask(path, key).await, node, "{path} {key}");
            used.insert(node);
        }
        assert_eq!(used.len(), 2, "{path}: keys spread");
    }
    // Without the key the client's address decides, which is the same for all of us.
    let first = rig.gateway.echo("/header").await["name"].clone();
    for _ in 0..6 {
        assert_eq!(rig.gateway.echo("/header").await["name"], first);
    }
}

#[tokio::test]
async fn connections_are_kept_as_long_as_the_pool_says() {
    let (kept, closed) = (NodeServer::start(None).await, NodeServer::start(None).await);
    let with = |pool: Value| {
        let mut without = route("/closed", closed.address);
        without["upstream"]["keepalive_pool"] = pool;
        without
    };
    let idle = with(json!({"size": 1, "idle_timeout": 0, "requests": 1000}));
    let once = with(json!({"size": 1, "idle_timeout": 60, "requests": 1}));
    let rig = Rig::start(&[("routes/1", route("/kept", kept.address)), ("routes/2", idle)]).await;
    for round in 0..6 {
        if round == 3 {
            rig.put("routes/2", &once).await;
        }
        rig.gateway.fetch("/kept").await;
        rig.gateway.fetch("/closed").await;
    }
    assert_eq!(closed.connections(), 6);
    assert!(kept.connections() <= 2, "one for each thread at most");
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
