//! Bodies that a plugin reads before the request goes on, and what of them reaches the upstream.

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Rig, local, route};

/// A route whose plugin reads bodies up to a limit.
fn reading(origin: &Origin, limit: usize) -> Value {
    let mut route = route("/*", origin.address);
    route["plugins"] = json!({"request-validation": {
        "max_req_body_size": limit,
        "body_schema": {"type": "object", "properties": {"seen": {"default": true}}},
    }});
    route
}

/// A JSON document of some length.
fn document(bytes: usize) -> String {
    json!({"seen": true, "text": "x".repeat(bytes)}).to_string()
}

/// A body without declared length, in pieces.
fn streamed(text: &str) -> reqwest::Body {
    let pieces: Vec<_> = text
        .as_bytes()
        .chunks(10_000)
        .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
        .collect();
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

async fn sent(rig: &Rig, body: impl Into<reqwest::Body>) -> Value {
    let request = rig.gateway.client.post(rig.gateway.url("/a")).body(body);
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

#[tokio::test]
async fn what_the_plugin_leaves_is_what_the_upstream_gets() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", reading(&origin, 1 << 20))]).await;
    let seen = sent(&rig, "{ }").await;
    assert_eq!(seen["body"], "{\"seen\":true}");
    assert_eq!(seen["headers"]["content-length"], "13");
}

#[tokio::test]
async fn bodies_of_any_length_arrive_whole_with_their_length() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", reading(&origin, 1 << 24))]).await;
    for bytes in [100, 65_536, 3_000_000] {
        let text = document(bytes);
        for body in [reqwest::Body::from(text.clone()), streamed(&text)] {
            let seen = sent(&rig, body).await;
            assert_eq!(seen["body_bytes"], text.len());
            assert_eq!(seen["headers"]["content-length"], text.len().to_string());
            assert_eq!(seen["headers"].get("transfer-encoding"), None);
        }
    }
}

#[tokio::test]
async fn an_upstream_of_http2_gets_bodies_whole() {
    let origin = Origin::start("one").await;
    let mut route = reading(&origin, 1 << 24);
    route["upstream"]["scheme"] = json!("grpc");
    let rig = Rig::start(&[("routes/1", route)]).await;
    for text in [document(100), document(3_000_000)] {
        let seen = sent(&rig, streamed(&text)).await;
        assert_eq!(seen["body_bytes"], text.len());
        assert_eq!(seen["headers"]["content-length"], text.len().to_string());
    }
}

#[tokio::test]
async fn a_body_of_http2_arrives_whole() {
    let origin = Origin::start("one").await;
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = pair.signing_key.serialize_pem();
    let ssl = json!({"sni": "localhost", "cert": pair.cert.pem(), "key": key});
    let authority = reqwest::Certificate::from_pem(pair.cert.pem().as_bytes()).unwrap();
    let rig = Rig::start(&[("routes/1", reading(&origin, 1 << 24)), ("ssls/1", ssl)]).await;
    let address = rig.gateway.bound.https.unwrap();
    let client = gantry_testkit::client::builder()
        .tls_certs_only([authority])
        .resolve("localhost", address)
        .build()
        .unwrap();
    let host = format!("localhost:{}", address.port());
    let url = format!("https://{host}/a");
    for text in [document(100), document(3_000_000)] {
        let response = client.post(&url).body(streamed(&text)).send().await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        let seen: Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], text.len());
        assert_eq!(seen["headers"]["host"], host);
    }
}

#[tokio::test]
async fn a_body_is_sent_again_to_the_next_node() {
    let origin = Origin::start("one").await;
    // The first node reads something of the request and hangs up.
    let rude = TcpListener::bind(local()).await.unwrap();
    let address = rude.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
        }
    });
    let mut route = reading(&origin, 1 << 24);
    route["upstream"] = json!({"nodes": [
        {"host": "127.0.0.1", "port": address.port(), "weight": 1, "priority": 1},
        {"host": "127.0.0.1", "port": origin.address.port(), "weight": 1, "priority": 0},
    ]});
    let rig = Rig::start(&[("routes/1", route)]).await;
    for bytes in [10, 1_000_000] {
        let text = document(bytes);
        let request = rig.gateway.client.put(rig.gateway.url("/a")).body(streamed(&text));
        let seen: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(seen["body_bytes"], text.len());
    }
}

#[tokio::test]
async fn larger_bodies_than_the_limit_are_refused() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", reading(&origin, 100_000))]).await;
    let text = document(200_000);
    for body in [reqwest::Body::from(text.clone()), streamed(&text)] {
        let request = rig.gateway.client.post(rig.gateway.url("/a")).body(body);
        assert_eq!(request.send().await.unwrap().status(), 413);
    }
    assert_eq!(origin.requests(), 0);
    let mut limited = reading(&origin, 100_000);
    limited["plugins"]["client-control"] = json!({"max_body_size": 1000});
    rig.put("routes/1", &limited).await;
    let request = rig.gateway.client.post(rig.gateway.url("/a")).body(streamed(&document(5000)));
    assert_eq!(request.send().await.unwrap().status(), 413);
}

/// Reads from a connection until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "{text}");
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
    }
    text
}

#[tokio::test]
async fn clients_that_ask_first_are_told_to_go_on_and_the_connection_is_kept() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", reading(&origin, 1000))]).await;
    let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    for _ in 0..2 {
        let head =
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(until(&mut stream, "\r\n\r\n").await.starts_with("HTTP/1.1 100 "));
        stream.write_all(b"{}").await.unwrap();
        let answer = until(&mut stream, "\"query\":null}").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(!answer.contains("expect"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_harms_nobody() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", reading(&origin, 1000))]).await;
    let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    stream.write_all(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
    drop(stream);
    assert_eq!(sent(&rig, "{}").await["name"], "one");
    assert_eq!(origin.requests(), 1);
}

#[tokio::test]
async fn an_upstream_that_fails_is_told_and_the_answer_arrives() {
    let origin = Origin::start("one").await;
    let mut route = reading(&origin, 1000);
    // Nobody listens there any more.
    let gone = TcpListener::bind(local()).await.unwrap().local_addr().unwrap();
    route["upstream"] = json!({"nodes": {gone.to_string(): 1}});
    let rig = Rig::start(&[("routes/1", route)]).await;
    let request = rig.gateway.client.post(rig.gateway.url("/a")).body("{}");
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("502 Bad Gateway"));
}
