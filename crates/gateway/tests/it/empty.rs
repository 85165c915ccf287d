//! Responses of upstreams that have no body until a plugin gives them one.

use serde_json::{Value, json};

use crate::{
    harness::{Rig, route},
    scripted::{Scripted, answer},
};

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
