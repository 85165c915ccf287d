//! gzip and brotli on the wire.

use std::io::Read;

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::harness::{Rig, local, route};

/// The head and the body of `GET path`, by a client of HTTP/1.1 that takes what `accept` says.
async fn get(rig: &Rig, path: &str, accept: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept-Encoding: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let at = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let body = answer.split_off(at + 4);
    let head = String::from_utf8(answer).unwrap().to_ascii_lowercase();
    let chunked = head.contains("transfer-encoding: chunked");
    (head, if chunked { dechunk(&body) } else { body })
}

fn dechunk(mut coded: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    loop {
        let at = coded.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&coded[..at]).unwrap(), 16).unwrap();
        if size == 0 {
            return plain;
        }
        plain.extend_from_slice(&coded[at + 2..at + 2 + size]);
        coded = &coded[at + 4 + size..];
    }
}

fn gunzip(coded: &[u8]) -> String {
    let mut plain = String::new();
    flate2::read::GzDecoder::new(coded).read_to_string(&mut plain).unwrap();
    plain
}

fn unbrotli(coded: &[u8]) -> String {
    let mut plain = String::new();
    brotli::Decompressor::new(coded, 4096).read_to_string(&mut plain).unwrap();
    plain
}

/// Answers every request with this head and, for each text that is sent, a piece of the body.
async fn origin(head: &'static str) -> (std::net::SocketAddr, mpsc::Sender<&'static str>) {
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut pieces) = mpsc::channel::<&str>(8);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let _ = stream.read(&mut buffer).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            while let Some(piece) = pieces.recv().await.filter(|piece| !piece.is_empty()) {
                stream.write_all(piece.as_bytes()).await.unwrap();
            }
        }
    });
    (address, sender)
}

fn with(uri: &str, origin: &Origin, plugins: Value) -> Value {
    let mut route = route(uri, origin.address);
    route["plugins"] = plugins;
    route
}

#[tokio::test]
async fn responses_are_compressed_for_clients_that_take_it() {
    let origin = Origin::start("one").await;
    let json = json!(["application/json"]);
    let rig = Rig::start(&[
        ("routes/1", with("/gzip", &origin, json!({"gzip": {"types": json, "vary": true}}))),
        ("routes/2", with("/html", &origin, json!({"gzip": {}}))),
        ("routes/3", with("/long", &origin, json!({"gzip": {"types": "*", "min_length": 9000}}))),
        (
            "routes/4",
            with("/both", &origin, json!({"gzip": {"types": "*"}, "brotli": {"types": "*"}})),
        ),
    ])
    .await;
    let (head, body) = get(&rig, "/gzip", "br, gzip;q=0.5").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert!(gunzip(&body).contains("\"path\":\"/gzip\""));
    let (head, body) = get(&rig, "/gzip", "gzip;q=0, br").await;
    assert!(!head.contains("content-encoding"), "{head}");
    assert!(head.contains("vary: accept-encoding\r\n"), "{head}");
    assert!(head.contains("content-length"), "{head}");
    assert!(body.starts_with(b"{"));
    for path in ["/html", "/long"] {
        let (head, _) = get(&rig, path, "gzip").await;
        assert!(!head.contains("content-encoding") && !head.contains("vary"), "{path}: {head}");
    }
    let (head, body) = get(&rig, "/both", "gzip, br").await;
    assert!(head.contains("content-encoding: br\r\n"), "{head}");
    assert!(unbrotli(&body).contains("\"path\":\"/both\""));
    let (head, body) = get(&rig, "/both", "gzip").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(gunzip(&body).contains("\"path\":\"/both\""));
}

#[tokio::test]
async fn others_change_the_plain_body_and_answers_of_our_own_are_compressed() {
    let origin = Origin::start("one").await;
    let gzip = json!({"types": "*"});
    let rig = Rig::start(&[
        ("global_rules/1", json!({"plugins": {"gzip": gzip}})),
        (
            "routes/1",
            with(
                "/echo",
                &origin,
                json!({"echo": {"before_body": "<", "body": "x",
            "after_body": ">", "headers": {"x-a": "$uri"}}}),
            ),
        ),
        (
            "routes/2",
            with(
                "/around",
                &origin,
                json!({"echo": {"before_body": "<",
            "after_body": ">"}}),
            ),
        ),
        (
            "routes/3",
            with(
                "/mock",
                &origin,
                json!({"mocking": {"response_example":
            "mock mock mock mock mock mock mock mock mock"}}),
            ),
        ),
        ("routes/4", with("/rewrite", &origin, json!({"response-rewrite": {"body": "rewritten"}}))),
    ])
    .await;
    for (path, expected) in
        [("/echo", "<x>"), ("/mock", "mock mock mock mock mock mock mock mock mock")]
    {
        let (head, body) = get(&rig, path, "gzip").await;
        assert!(head.contains("content-encoding: gzip"), "{path}: {head}");
        assert_eq!(gunzip(&body), expected);
    }
    let (head, _) = get(&rig, "/echo", "gzip").await;
    assert!(head.contains("x-a: $uri\r\n"), "{head}");
    let (_, body) = get(&rig, "/around", "gzip").await;
    let plain = gunzip(&body);
    assert!(plain.starts_with("<{") && plain.ends_with("}>"), "{plain}");
    let (_, body) = get(&rig, "/around", "identity").await;
    assert!(body.starts_with(b"<{") && body.ends_with(b"}>"));
    let (head, body) = get(&rig, "/rewrite", "gzip").await;
    assert!(!head.contains("content-encoding"), "nine bytes are not worth it: {head}");
    assert_eq!(body, b"rewritten");
}

#[tokio::test]
async fn only_what_is_long_enough_and_new_enough_is_compressed() {
    let of = |length: usize, more: Value| {
        let mut plugins = json!({"response-rewrite": {"body": "x".repeat(length)}});
        plugins.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        plugins
    };
    let origin = Origin::start("one").await;
    let gzip = json!({"gzip": {"types": "*", "min_length": 30.0, "comp_level": 9}});
    let brotli = json!({"brotli": {"types": "*", "min_length": 30, "comp_level": 11, "mode": 1,
        "lgwin": 10, "lgblock": 16}});
    let old = json!({"gzip": {"types": "*", "http_version": 1.0}});
    let rig = Rig::start(&[
        ("routes/1", with("/short", &origin, of(29, gzip.clone()))),
        ("routes/2", with("/long", &origin, of(30, gzip))),
        ("routes/3", with("/br-short", &origin, of(29, brotli.clone()))),
        ("routes/4", with("/br-long", &origin, of(30, brotli))),
        ("routes/5", with("/old", &origin, of(30, old))),
    ])
    .await;
    for (path, coding) in
        [("/short", None), ("/long", Some("gzip")), ("/br-short", None), ("/br-long", Some("br"))]
    {
        let (head, body) = get(&rig, path, "gzip, br").await;
        let found = head.lines().find_map(|line| line.strip_prefix("content-encoding: "));
        assert_eq!(found, coding, "{path}");
        match coding {
            Some("gzip") => assert_eq!(gunzip(&body), "x".repeat(30)),
            Some(_) => assert_eq!(unbrotli(&body), "x".repeat(30)),
            None => assert_eq!(body, "x".repeat(29).as_bytes()),
        }
    }
    for (path, compressed) in [("/old", true), ("/long", false)] {
        let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
        let head = format!("GET {path} HTTP/1.0\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
        assert_eq!(head.contains("content-encoding: gzip"), compressed, "{path}: {head}");
    }
}

#[tokio::test]
async fn filters_read_compressed_bodies_of_upstreams() {
    let rig = Rig::start(&[]).await;
    let this = rig.gateway.bound.http.unwrap();
    let compressed = json!({"mocking": {"response_example": "a secret, and one more secret"},
        "gzip": {"types": "*", "min_length": 1}, "brotli": {"types": "*", "min_length": 1}});
    let filters = json!({"filters": [{"regex": "secret", "replace": "***", "scope": "global"}]});
    let only_200 = json!({"filters": filters["filters"], "vars": [["status", "==", 404]]});
    let gzip = json!({"types": "*", "min_length": 1});
    let inner = |uri: &str| json!({"uri": uri});
    for (id, uri, plugins) in [
        ("1", "/inner", compressed),
        ("2", "/plain", json!({"proxy-rewrite": inner("/inner"), "response-rewrite": filters})),
        (
            "3",
            "/again",
            json!({"proxy-rewrite": inner("/inner"), "response-rewrite": filters,
            "gzip": gzip}),
        ),
        ("4", "/not", json!({"proxy-rewrite": inner("/inner"), "response-rewrite": only_200})),
    ] {
        let mut route = route(uri, this);
        route["plugins"] = plugins;
        rig.put(&format!("routes/{id}"), &route).await;
    }
    let filtered = "a ***, and one more ***";
    for accept in ["gzip", "br", "zstd, deflate", "identity"] {
        let (head, body) = get(&rig, "/plain", accept).await;
        assert!(!head.contains("content-encoding"), "{accept}: {head}");
        assert_eq!(String::from_utf8(body).unwrap(), filtered, "{accept}");
    }
    let (head, body) = get(&rig, "/again", "gzip").await;
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert_eq!(gunzip(&body), filtered);
    let (head, body) = get(&rig, "/not", "br").await;
    assert!(head.contains("content-encoding: br\r\n"), "{head}");
    assert_eq!(unbrotli(&body), "a secret, and one more secret");
}

#[tokio::test]
async fn upstreams_are_offered_what_filters_can_read() {
    let origin = Origin::start("one").await;
    let filters = json!({"response-rewrite": {"filters": [{"regex": "a", "replace": "a"}]}});
    let rig = Rig::start(&[
        ("routes/1", with("/filters", &origin, filters)),
        ("routes/2", with("/none", &origin, json!({}))),
    ])
    .await;
    for (path, accept, seen) in [
        ("/none", "zstd, br;q=0.5", json!("zstd, br;q=0.5")),
        ("/filters", "zstd, br;q=0.5, *", json!("br;q=0.5")),
        ("/filters", "zstd", Value::Null),
    ] {
        let (_, body) = get(&rig, path, accept).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["headers"]["accept-encoding"], seen, "{path} {accept}");
    }
}

#[tokio::test]
async fn every_piece_goes_on_at_once() {
    for (plugin, accept) in [("gzip", "gzip"), ("brotli", "br")] {
        let (address, pieces) = origin(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nETag: \"a\"\r\n\
             Accept-Ranges: bytes\r\n\r\n",
        )
        .await;
        let mut resource = route("/*", address);
        resource["plugins"] = json!({ plugin: {} });
        let rig = Rig::start(&[("routes/1", resource)]).await;
        let client = gantry_testkit::client::builder().no_gzip().build().unwrap();
        let request = client.get(rig.gateway.url("/a"));
        pieces.send("first").await.unwrap();
        let mut response = request.header("Accept-Encoding", accept).send().await.unwrap();
        assert_eq!(response.headers()["content-encoding"], accept);
        assert_eq!(response.headers()["etag"], "W/\"a\"");
        assert!(!response.headers().contains_key("accept-ranges"));
        // The second piece is only sent once the first has arrived.
        let mut coded = response.chunk().await.unwrap().unwrap().to_vec();
        pieces.send("second").await.unwrap();
        pieces.send("").await.unwrap();
        while let Some(chunk) = response.chunk().await.unwrap() {
            coded.extend_from_slice(&chunk);
        }
        let plain = if plugin == "gzip" { gunzip(&coded) } else { unbrotli(&coded) };
        assert_eq!(plain, "firstsecond");
    }
}
