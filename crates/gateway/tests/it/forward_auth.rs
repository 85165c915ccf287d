//! forward-auth: another server is asked, and what it says is done.

use std::{net::SocketAddr, sync::Arc};

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    harness::{Rig, local, route},
    stand_in::StandIn,
};

/// A server that lets requests pass that say so.
async fn judge() -> StandIn {
    StandIn::start(|request| {
        if request.contains("x-verdict: yes\r\n") {
            ("200 OK", "X-User: jack\r\n", String::new())
        } else if request.contains("x-verdict: elsewhere\r\n") {
            ("302 Found", "Location: https://login.example\r\n", String::new())
        } else if let Some((_, size)) = request.split_once("x-verdict: no ") {
            let size = size.lines().next().unwrap().parse().unwrap();
            ("500 Internal Server Error", "", "x".repeat(size))
        } else {
            ("401 Unauthorized", "Location: /login\r\nX-Other: 1\r\n", "who are you?".to_owned())
        }
    })
    .await
}

fn guarded(origin: &Origin, address: SocketAddr, more: &Value) -> Value {
    let mut route = route("/*", origin.address);
    let mut config = json!({"uri": format!("http://{address}/auth?q=1"),
        "request_headers": ["x-verdict", "x-forwarded-for"],
        "upstream_headers": ["x-user", "x-role"], "client_headers": ["location"]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    route["plugins"] = json!({"forward-auth": config});
    route
}

#[tokio::test]
async fn a_yes_lets_the_request_pass_with_the_servers_headers() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let extra = json!({"extra_headers": {"x-path": "$uri", "x-fixed": "f"}});
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &extra))]).await;
    let request = rig.gateway.client.post(rig.gateway.url("/a?b=1")).body("not for the judge");
    let request = request.header("x-verdict", "yes").header("x-role", "forged");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["headers"]["x-user"], "jack");
    assert_eq!(seen["headers"].get("x-role"), None);
    assert_eq!(seen["body"], "not for the judge");
    let heard = judge.heard();
    let question = heard.first().unwrap();
    assert!(question.starts_with("GET /auth?q=1 HTTP/1.1\r\n"), "{question}");
    let host = rig.gateway.bound.http.unwrap();
    for line in [
        "x-forwarded-proto: http",
        "x-forwarded-method: POST",
        &format!("x-forwarded-host: {host}"),
        "x-forwarded-uri: /a?b=1",
        "x-forwarded-for: 127.0.0.1",
        "x-path: /a",
        "x-fixed: f",
    ] {
        assert!(question.contains(&format!("\r\n{line}\r\n")), "{line} in {question}");
    }
    assert!(question.ends_with("\r\n\r\n"), "no body: {question}");
}

#[tokio::test]
async fn a_no_is_passed_to_the_client_with_the_listed_headers() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &json!({})))]).await;
    let response = rig.gateway.get("a", "/").await;
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["location"], "/login");
    assert_eq!(response.headers().get("x-other"), None);
    assert_eq!(response.text().await.unwrap(), "who are you?");
    assert_eq!(origin.requests(), 0);
}

/// A server that lets everybody pass, with a certificate that nobody vouches for.
async fn secure_judge() -> SocketAddr {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that does not trust the certificate breaks off.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

#[tokio::test]
async fn a_server_nobody_vouches_for_is_not_asked_unless_told_otherwise() {
    let (origin, address) = (Origin::start("one").await, secure_judge().await);
    let uri = format!("https://localhost:{}/auth", address.port());
    let rig = Rig::start(&[("routes/1", guarded(&origin, address, &json!({"uri": uri})))]).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 403);
    let trusting = json!({"uri": uri, "ssl_verify": false, "keepalive": false});
    rig.put("routes/1", &guarded(&origin, address, &trusting)).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 200);
}

#[tokio::test]
async fn who_is_sent_elsewhere_goes_there() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &json!({})))]).await;
    let request = rig.gateway.client.get(rig.gateway.url("/")).header("x-verdict", "elsewhere");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 302);
    assert_eq!(response.headers()["location"], "https://login.example");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_long_no_is_a_no() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let lenient = json!({"allow_degradation": true});
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &lenient))]).await;
    let ask = async |size: usize| {
        let request = rig.gateway.client.get(rig.gateway.url("/"));
        let request = request.header("x-verdict", format!("no {size}"));
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(ask(3 << 20).await, (500, "x".repeat(3 << 20)));
    let (status, body) = ask(9 << 20).await;
    assert!(status == 500 && body.contains("500 Internal Server Error"), "{status}");
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn the_server_is_told_every_path() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let config = json!({"request_headers": ["x-verdict", "x-forwarded-uri"]});
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &config))]).await;
    let request = rig.gateway.client.get(rig.gateway.url("/admin%0Ax"));
    let request = request.header("x-verdict", "yes").header("x-forwarded-uri", "/harmless");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let heard = judge.heard();
    let question = heard.first().unwrap();
    assert!(question.contains("\r\nx-forwarded-uri: /admin%0Ax\r\n"), "{question}");
    assert!(!question.contains("harmless"), "{question}");
}

#[tokio::test]
async fn a_post_takes_the_body_along_and_leaves_it_for_the_upstream() {
    let (origin, judge) = (Origin::start("one").await, judge().await);
    let post = json!({"request_method": "POST", "max_req_body_size": 10});
    let rig = Rig::start(&[("routes/1", guarded(&origin, judge.address, &post))]).await;
    let send = async |body: &'static str| {
        let request = rig.gateway.client.put(rig.gateway.url("/a")).body(body);
        request.header("x-verdict", "yes").header("content-encoding", "x").send().await.unwrap()
    };
    let seen: Value = send("the body").await.json().await.unwrap();
    assert_eq!(seen["body"], "the body");
    let heard = judge.heard();
    let question = heard.first().unwrap();
    assert!(question.starts_with("POST /auth?q=1 HTTP/1.1\r\n"), "{question}");
    assert!(question.contains("\r\ncontent-encoding: x\r\n"), "{question}");
    assert!(question.ends_with("\r\n\r\nthe body"), "{question}");
    assert_eq!(send("a larger body").await.status(), 413);
    assert_eq!(judge.heard().len(), 1);
}

#[tokio::test]
async fn a_server_that_cannot_be_asked_closes_the_route_unless_told_otherwise() {
    let origin = Origin::start("one").await;
    // Nobody listens there any more.
    let gone = TcpListener::bind(local()).await.unwrap().local_addr().unwrap();
    let rig = Rig::start(&[("routes/1", guarded(&origin, gone, &json!({})))]).await;
    let (status, body) = rig.gateway.fetch("/").await;
    assert_eq!(status, 403);
    assert!(body.contains("403 Forbidden"), "{body}");
    rig.put("routes/1", &guarded(&origin, gone, &json!({"status_on_error": 503}))).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 503);
    rig.put("routes/1", &guarded(&origin, gone, &json!({"allow_degradation": true}))).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 200);
    // One that takes the question and never answers.
    let silent = TcpListener::bind(local()).await.unwrap();
    let slow = json!({"timeout": 50});
    rig.put("routes/1", &guarded(&origin, silent.local_addr().unwrap(), &slow)).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 403);
}

#[tokio::test]
async fn the_metrics_can_be_shown_on_a_route() {
    let mut shown = json!({"uri": "/numbers",
        "plugins": {"public-api": {"uri": "/apisix/prometheus/metrics"}, "prometheus": {}}});
    let rig = Rig::start(&[("routes/1", shown.clone())]).await;
    rig.gateway.fetch("/numbers").await;
    let response = rig.gateway.get("a", "/numbers").await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4");
    assert!(response.text().await.unwrap().contains("apisix_http_status"));
    shown["plugins"] = json!({"public-api": {}});
    rig.put("routes/1", &shown).await;
    assert_eq!(rig.gateway.fetch("/numbers").await.0, 404);
}
