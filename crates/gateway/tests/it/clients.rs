//! What clients may do: sizes, silence, the PROXY protocol, HTTP/2 without TLS, believed peers.

use std::time::Duration;

use gantry_gateway::ClientOptions;
use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Rig, local, route};

async fn rig(clients: ClientOptions) -> (Rig, Origin) {
    let origin = Origin::start("one").await;
    (Rig::start_with(&[("routes/1", route("/*", origin.address))], clients).await, origin)
}

/// Sends bytes and reads until the gateway closes.
async fn raw(rig: &Rig, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// The JSON that the origin has answered with.
fn seen(answer: &str) -> Value {
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

const LAST: &str = "Host: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn requests_that_are_too_large_are_refused() {
    let body_bytes = Some(1000);
    let (rig, origin) = rig(ClientOptions { body_bytes, ..ClientOptions::default() }).await;
    let (path, value) = ("x".repeat(8192), "x".repeat(32 * 1024));
    let long_target = format!("GET /{path} HTTP/1.1\r\n{LAST}");
    let large_head = format!("GET / HTTP/1.1\r\nX-Large: {value}\r\n{LAST}");
    let large_body = format!("POST / HTTP/1.1\r\nContent-Length: 1001\r\n{LAST}{}", &value[..1001]);
    let large_chunk = format!(
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{LAST}3e9\r\n{}\r\n0\r\n\r\n",
        &value[..1001]
    );
    for (request, page) in [
        (long_target, "414 URI Too Long"),
        (large_head, "431 Request Header Fields Too Large"),
        (large_body, "413 Payload Too Large"),
        (large_chunk, "413 Payload Too Large"),
    ] {
        let answer = raw(&rig, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {} ", &page[..3])), "{page}: {answer}");
        assert!(answer.contains(&format!("<h1>{page}</h1>")), "{page}: {answer}");
    }
    assert!(origin.requests() <= 1, "but for the one whose size shows too late");
    let body = format!("POST / HTTP/1.1\r\nContent-Length: 1000\r\n{LAST}{}", &value[..1000]);
    seen(&raw(&rig, body.as_bytes()).await);
    let most = format!("GET /{} HTTP/1.1\r\n{LAST}", &path[..8000]);
    seen(&raw(&rig, most.as_bytes()).await);
}

#[tokio::test]
async fn a_route_may_allow_larger_bodies_than_the_gateway() {
    let origin = Origin::start("one").await;
    let with = |uri: &str, size: u64| {
        let mut route = route(uri, origin.address);
        route["plugins"] = json!({"client-control": {"max_body_size": size}});
        route
    };
    let resources = [
        ("routes/1", with("/any", 0)),
        ("routes/2", with("/more", 200)),
        ("routes/3", with("/less", 50)),
        ("routes/4", route("/same", origin.address)),
    ];
    let options = ClientOptions { body_bytes: Some(100), ..ClientOptions::default() };
    let rig = Rig::start_with(&resources, options).await;
    for (path, length, status) in [
        ("/any", 300, 200),
        ("/more", 200, 200),
        ("/more", 201, 413),
        ("/less", 51, 413),
        ("/same", 100, 200),
        ("/same", 101, 413),
    ] {
        let request = rig.gateway.client.post(rig.gateway.url(path)).body("x".repeat(length));
        assert_eq!(request.send().await.unwrap().status(), status, "{path} {length}");
        let chunk = format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length));
        let head = format!("POST {path} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n{LAST}");
        let answer = raw(&rig, (head + &chunk).as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path} {length}: {answer}");
    }
}

#[tokio::test]
async fn silence_ends_connections() {
    let short = Duration::from_millis(300);
    let options = ClientOptions {
        read_timeout: short,
        idle_timeout: Duration::from_secs(1),
        ..ClientOptions::default()
    };
    let (rig, origin) = rig(options).await;
    let answer = raw(&rig, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nonly").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Kept alive, then closed without a word.
    let answer = raw(&rig, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    drop(origin);
}

#[tokio::test]
async fn a_head_that_trickles_in_ends_the_connection_and_slow_bodies_do_not() {
    let read_timeout = Duration::from_millis(1500);
    let (rig, _origin) = rig(ClientOptions { read_timeout, ..ClientOptions::default() }).await;
    let address = rig.gateway.bound.http.unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A byte at a time, never silent for as long as is allowed. True when the gateway hangs up.
    async fn trickle(stream: &mut TcpStream, bytes: usize) -> bool {
        let pause = Duration::from_millis(150);
        for _ in 0..bytes {
            if stream.write_all(b"x").await.is_err() {
                return true;
            }
            let mut end = [0];
            match tokio::time::timeout(pause, stream.peek(&mut end)).await {
                Ok(Ok(0) | Err(_)) => return true,
                Ok(Ok(_)) => return false,
                Err(_) => {}
            }
        }
        false
    }
    // The second request on a connection is watched like the first one.
    for _ in 0..2 {
        stream
            .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n")
            .await
            .unwrap();
        assert!(!trickle(&mut stream, 12).await, "a body may take longer");
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200 "));
    }
    // Nor is there a way around by what looks like HTTP/2.
    for head in ["GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ", "PRI "] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(trickle(&mut stream, 600).await, "it goes on for ever");
    }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let options =
        ClientOptions { send_timeout: Duration::from_millis(300), ..ClientOptions::default() };
    let endless = TcpListener::bind(local()).await.unwrap();
    let rig =
        Rig::start_with(&[("routes/1", route("/*", endless.local_addr().unwrap()))], options).await;
    let mut client = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let (mut node, _) = endless.accept().await.unwrap();
    node.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut sent = 0;
    // Ends when the gateway hangs up, long before everything is sent.
    while node.write_all(&piece).await.is_ok() {
        sent += piece.len();
    }
    assert!(sent < 500 << 20, "{sent}");
}

#[tokio::test]
async fn a_load_balancer_says_who_the_client_is() {
    let proxy_protocol = true;
    let (rig, origin) = rig(ClientOptions { proxy_protocol, ..ClientOptions::default() }).await;
    let request = format!("GET / HTTP/1.1\r\n{LAST}");
    let line = format!("PROXY TCP4 192.0.2.1 192.0.2.2 40000 8443\r\n{request}");
    let headers = seen(&raw(&rig, line.as_bytes()).await)["headers"].clone();
    assert_eq!(headers["x-real-ip"], "192.0.2.1");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(headers["x-forwarded-port"], "8443");
    let v6 = [[0; 15].as_slice(), &[1], &[0; 15], &[2], &[0, 1, 0, 2]].concat();
    let block =
        [b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24", v6.as_slice(), request.as_bytes()].concat();
    assert_eq!(seen(&raw(&rig, &block).await)["headers"]["x-real-ip"], "::1");
    let local = [b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00", request.as_bytes()].concat();
    assert_eq!(seen(&raw(&rig, &local).await)["headers"]["x-real-ip"], "127.0.0.1");
    let stranger = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    let (mut reading, mut writing) = stranger.into_split();
    writing.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Closed with or without a reset, but never answered.
    let _ = reading.read_to_end(&mut answer).await;
    assert!(answer.is_empty());
    assert_eq!(origin.requests(), 3);
}

#[tokio::test]
async fn http2_is_spoken_without_tls_where_it_is_allowed() {
    let client = gantry_testkit::client::builder().http2_prior_knowledge().build().unwrap();
    let (on, _one) = rig(ClientOptions { h2c: true, ..ClientOptions::default() }).await;
    let response = client.get(on.gateway.url("/")).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    assert_eq!(on.gateway.fetch("/").await.0, 200, "HTTP/1.1 as well");
    let (off, _two) = rig(ClientOptions::default()).await;
    assert!(client.get(off.gateway.url("/")).send().await.is_err());
}

#[tokio::test]
async fn only_trusted_peers_say_where_a_request_came_from() {
    let forged = [
        ("X-Forwarded-For", "192.0.2.9"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "shop.com"),
        ("X-Forwarded-Port", "443"),
        ("Forwarded", "for=192.0.2.9"),
    ];
    let trusting = |list: &[&str]| ClientOptions {
        trusted_addresses: Some(list.iter().map(|text| (*text).to_owned()).collect()),
        ..ClientOptions::default()
    };
    let ask = async |options: ClientOptions| {
        let (rig, _origin) = rig(options).await;
        let mut request = rig.gateway.client.get(rig.gateway.url("/"));
        for (name, value) in forged {
            request = request.header(name, value);
        }
        let seen: Value = request.send().await.unwrap().json().await.unwrap();
        let of = |name: &str| seen["headers"][name].as_str().map(str::to_owned);
        let port = rig.gateway.bound.http.unwrap().port().to_string();
        let host = format!("127.0.0.1:{port}");
        let [chain, proto, forwarded] =
            ["x-forwarded-for", "x-forwarded-proto", "forwarded"].map(of);
        (
            chain.unwrap(),
            proto.unwrap(),
            of("x-forwarded-host") == Some(host),
            of("x-forwarded-port") == Some(port),
            forwarded,
        )
    };
    let text = str::to_owned;
    let believed = ask(trusting(&["127.0.0.0/8"])).await;
    let own =
        (text("192.0.2.9, 127.0.0.1"), text("https"), false, false, Some(text("for=192.0.2.9")));
    assert_eq!(believed, own);
    let others = ask(trusting(&["10.0.0.0/8"])).await;
    assert_eq!(others, (text("127.0.0.1"), text("http"), true, true, None));
    let nobody = ask(ClientOptions::default()).await;
    assert_eq!(nobody, (text("192.0.2.9, 127.0.0.1"), text("http"), true, true, None));
}

#[test]
fn settings_that_make_no_sense_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let options = ClientOptions {
        trusted_addresses: Some(vec!["everybody".to_owned()]),
        ..ClientOptions::default()
    };
    let error = crate::harness::refused(directory.path(), options);
    assert_eq!(
        error.to_string(),
        "the settings for clients: `everybody` is neither an address nor a network"
    );
}
