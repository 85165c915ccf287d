//! proxy-mirror and api-breaker on the wire.

use gantry_testkit::Origin;
use serde_json::{Value, json};

use crate::{
    harness::{Rig, route},
    scripted::{Scripted, answer},
};

fn with(uri: &str, origin: std::net::SocketAddr, plugins: Value) -> Value {
    let mut route = route(uri, origin);
    route["plugins"] = plugins;
    route
}

#[tokio::test]
async fn a_copy_has_method_path_headers_and_body() {
    let origin = Origin::start("one").await;
    let mirror = Scripted::start(|_| answer("500 Internal Server Error", "", "ignored")).await;
    let host = format!("http://{}", mirror.address);
    let rig = Rig::start(&[
        (
            "routes/1",
            with(
                "/plain/*",
                origin.address,
                json!({"proxy-mirror": {"host": host},
                "proxy-rewrite": {"uri": "/rewritten", "host": "inner", "method": "PUT"}}),
            ),
        ),
        (
            "routes/2",
            with(
                "/replaced",
                origin.address,
                json!({"proxy-mirror": {"host": host, "path": "/m"}}),
            ),
        ),
        (
            "routes/3",
            with(
                "/prefixed",
                origin.address,
                json!({"proxy-mirror":
                {"host": host, "path": "/m", "path_concat_mode": "prefix"}}),
            ),
        ),
        (
            "routes/4",
            with(
                "/refused",
                origin.address,
                json!({"proxy-mirror": {"host": host},
                "fault-injection": {"abort": {"http_status": 403}}}),
            ),
        ),
    ])
    .await;
    let post = async |path: &str, body: &'static str| {
        let request = rig.gateway.client.post(rig.gateway.url(path)).header("X-A", "b");
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(post("/refused", "").await.0, 403);
    let (status, body) = post("/plain/%C3%A9/./x?q=1", "the body").await;
    assert_eq!(status, 200);
    assert!(body.contains("\"path\":\"/rewritten\""), "the request itself goes its way: {body}");
    let copies = mirror.until(1).await;
    let head = copies[0].to_ascii_lowercase();
    assert!(head.starts_with("put /plain/%c3%a9/x?q=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nhost: inner\r\n"), "{head}");
    assert!(head.contains("\r\nx-a: b\r\n"), "{head}");
    assert!(copies[0].ends_with("\r\n\r\nthe body"), "{}", copies[0]);
    for (path, expected, count) in
        [("/replaced?q=1", "POST /m?q=1 ", 2), ("/prefixed", "POST /m/prefixed ", 3)]
    {
        assert_eq!(post(path, "x").await.0, 200);
        let copies = mirror.until(count).await;
        assert!(copies[count - 1].starts_with(expected), "{}", copies[count - 1]);
    }
    let get = rig.gateway.fetch("/replaced").await;
    assert_eq!(get.0, 200);
    assert!(mirror.until(4).await[3].starts_with("GET /m "));
}

#[tokio::test]
async fn a_copy_has_no_credentials_that_are_hidden() {
    let origin = Origin::start("one").await;
    let mirror = Scripted::start(|_| answer("200 OK", "", "")).await;
    let plugins = json!({"key-auth": {"hide_credentials": true},
        "proxy-mirror": {"host": format!("http://{}", mirror.address)}});
    let rig = Rig::start(&[
        ("routes/1", with("/a", origin.address, plugins)),
        ("consumers/jack", json!({"username": "jack", "plugins": {"key-auth": {"key": "secret"}}})),
    ])
    .await;
    assert_eq!(rig.gateway.fetch("/a?x=1&apikey=secret").await.0, 200);
    assert!(mirror.until(1).await[0].starts_with("GET /a?x=1 HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_mirror_that_is_away_disturbs_nobody_and_large_bodies_are_copied() {
    let origin = Origin::start("one").await;
    let mirror = Scripted::start(|_| answer("200 OK", "", "")).await;
    let away = json!({"proxy-mirror": {"host": "http://127.0.0.1:1"}});
    let there = json!({"proxy-mirror": {"host": format!("http://{}", mirror.address)}});
    let never = json!({"proxy-mirror":
        {"host": format!("http://{}", mirror.address), "sample_ratio": 0.00001}});
    let rig = Rig::start(&[
        ("routes/1", with("/away", origin.address, away)),
        ("routes/2", with("/there", origin.address, there)),
        ("routes/3", with("/never", origin.address, never)),
    ])
    .await;
    let post = async |path: &str, size: usize| {
        let request = rig.gateway.client.post(rig.gateway.url(path));
        request.body(vec![b'x'; size]).send().await.unwrap().status().as_u16()
    };
    assert_eq!(post("/away", 10).await, 200);
    for _ in 0..10 {
        assert_eq!(post("/never", 1).await, 200);
    }
    assert_eq!(post("/there", 10).await, 200);
    let copies = mirror.until(1).await;
    assert!(copies.len() == 1 && copies[0].ends_with("\r\n\r\nxxxxxxxxxx"), "{copies:?}");
    assert_eq!(post("/there", 5 << 20).await, 200);
    let copy = &mirror.until(2).await[1];
    let (head, body) = copy.split_once("\r\n\r\n").unwrap();
    assert!(head.to_ascii_lowercase().contains("content-length: 5242880"), "{head}");
    assert!(body.len() == 5 << 20 && body.bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn a_request_without_body_is_copied_also_on_its_way_to_http2() {
    let mirror = Scripted::start(|_| answer("200 OK", "", "")).await;
    let rig = Rig::start(&[]).await;
    let upstream = json!({"scheme": "grpc", "nodes": {rig.etcd_address.to_string(): 1}});
    let plugins = json!({"proxy-mirror": {"host": format!("http://{}", mirror.address)}});
    rig.put("routes/1", &json!({"uri": "/*", "upstream": upstream, "plugins": plugins})).await;
    rig.gateway.fetch("/a").await;
    assert!(mirror.until(1).await[0].starts_with("GET /a "));
}

#[tokio::test]
async fn a_breaker_keeps_requests_from_an_upstream_that_fails() {
    let origin = Scripted::start(|_| answer("500 Internal Server Error", "", "broken")).await;
    let breaker = json!({"break_response_code": 503, "break_response_body": "later",
        "break_response_headers": [{"key": "X-Path", "value": "$uri"}],
        "unhealthy": {"http_statuses": [500], "failures": 2}});
    let rig =
        Rig::start(&[("routes/1", with("/*", origin.address, json!({"api-breaker": breaker})))])
            .await;
    let mut statuses = Vec::new();
    // What has happened is noted after the client has its answer.
    while statuses.last() != Some(&503) {
        let response = rig.gateway.get("localhost", "/a").await;
        statuses.push(response.status().as_u16());
        if statuses.last() == Some(&503) {
            assert_eq!(response.headers()["x-path"], "/a");
            assert_eq!(response.text().await.unwrap(), "later");
        }
    }
    assert!(statuses.len() >= 3, "{statuses:?}");
    let asked = origin.requests().len();
    assert_eq!(rig.gateway.fetch("/a").await.0, 503);
    assert_eq!(origin.requests().len(), asked, "the upstream is left alone");
    assert_eq!(rig.gateway.fetch("/b").await.0, 500, "another path is another state");
}
