//! Responses of upstreams that have no body until a plugin gives them one.

use gantry_gateway::ClientOptions;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    harness::{Rig, route},
    node::NodeServer,
    scripted::{Scripted, answer},
};

/// Sends a request and reads until the answer is there, as far as it says how long it is.
async fn ask(client: &mut TcpStream, request: &str) -> (String, String) {
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let lower = head.to_ascii_lowercase();
            let length = lower.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.is_some_and(|length| body.len() >= length.parse().unwrap()) {
                return (lower, body.to_owned());
            }
        }
        let read = client.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the connection ends after {text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
}

#[tokio::test]
async fn an_empty_response_gets_the_body_that_is_configured() {
    let origin = Scripted::start(|request| match request.split(' ').nth(1).unwrap() {
        "/204" => "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
        "/ok" => answer("200 OK", "", ""),
        _ => answer("401 Unauthorized", "WWW-Authenticate: x\r\nETag: \"a\"\r\n", ""),
    })
    .await;
    let with = |uri: &str, plugins: Value| {
        let mut route = route(uri, origin.address);
        route["plugins"] = plugins;
        route
    };
    let rewriting = json!({"response-rewrite": {"body": "sorry", "status_code": 403,
        "vars": [["status", "==", 401]], "headers": {"set": {"X-Seen": "1"}}}});
    let rig = Rig::start(&[
        ("routes/1", with("/*", rewriting)),
        ("routes/2", with("/echo", json!({"echo": {"before_body": "a", "after_body": "b"}}))),
    ])
    .await;
    let response = rig.gateway.get("a.com", "/401").await;
    let headers = response.headers().clone();
    assert_eq!(
        (response.status().as_u16(), &headers["www-authenticate"]),
        (403, &"x".parse().unwrap())
    );
    assert!(headers.contains_key("x-seen") && !headers.contains_key("etag"));
    assert_eq!(headers["content-length"], "5");
    assert_eq!(response.text().await.unwrap(), "sorry");
    for (path, expected) in [("/ok", (200, "")), ("/204", (204, "")), ("/echo", (401, "ab"))] {
        assert_eq!(rig.gateway.fetch(path).await, (expected.0, expected.1.to_owned()), "{path}");
    }
    let head = rig.gateway.client.head(rig.gateway.url("/401")).send().await.unwrap();
    assert_eq!(head.status(), 403);
}

#[tokio::test]
async fn both_connections_are_kept_after_a_response_that_was_filled() {
    let node = NodeServer::start(None).await;
    node.set_body("");
    let mut streamed = route("/streamed", node.address);
    let mut held = route("/held", node.address);
    held["vars"] = json!([["post_arg_a", "==", "1"]]);
    for route in [&mut streamed, &mut held] {
        route["plugins"] = json!({"echo": {"body": "filled"}});
    }
    let rig = Rig::start(&[("routes/1", streamed), ("routes/2", held)]).await;
    let mut client = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=1";
    for _ in 0..3 {
        for (line, rest) in [
            ("GET /streamed", "\r\n"),
            ("POST /streamed", "Content-Length: 4\r\n\r\nbody"),
            ("POST /held", form),
        ] {
            let request = format!("{line} HTTP/1.1\r\nHost: a\r\n{rest}");
            let (head, body) = ask(&mut client, &request).await;
            assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
            assert!(!head.contains("connection: close"), "{head}");
            assert_eq!(body, "filled", "{line}");
        }
    }
    assert_eq!((node.take_requests(), node.connections()), (9, 1));
    let state = rig.gateway.state().await;
    // The client's, and those of the status page are counted elsewhere.
    assert_eq!(state["connections"]["accepted"], json!(1), "{state}");
}

#[tokio::test]
async fn responses_are_filled_for_http2_too() {
    let node = NodeServer::start(None).await;
    node.set_body("");
    let mut route = route("/", node.address);
    route["plugins"] = json!({"echo": {"body": "filled"}});
    let clients = ClientOptions { h2c: true, ..ClientOptions::default() };
    let rig = Rig::start_with(&[("routes/1", route)], clients).await;
    let client = gantry_testkit::client::builder().http2_prior_knowledge().build().unwrap();
    for _ in 0..3 {
        let request = client.post(rig.gateway.url("/")).body("body");
        let response = request.send().await.unwrap();
        assert_eq!(response.version(), reqwest::Version::HTTP_2);
        assert_eq!(response.text().await.unwrap(), "filled");
    }
    assert_eq!((node.take_requests(), node.connections()), (3, 1));
    assert_eq!(rig.gateway.state().await["connections"]["accepted"], json!(1));
}

#[tokio::test]
async fn a_response_that_was_filled_is_cached_as_it_came() {
    let node = NodeServer::start(None).await;
    node.set_body("");
    let mut route = route("/", node.address);
    let cache = json!({"cache_strategy": "memory", "cache_zone": "memory_cache"});
    route["plugins"] = json!({"proxy-cache": cache, "echo": {"body": "filled"}});
    let rig = Rig::start(&[("routes/1", route)]).await;
    for expected in ["MISS", "HIT"] {
        let response = rig.gateway.get("localhost", "/").await;
        assert_eq!(response.headers()["apisix-cache-status"], expected);
        assert_eq!(response.text().await.unwrap(), "filled");
    }
    assert_eq!(node.take_requests(), 1);
}
