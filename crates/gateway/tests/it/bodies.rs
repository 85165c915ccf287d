//! Bodies of requests that are larger than a plugin allows.

use gantry_testkit::Origin;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Rig, local, route};

/// Sends a head and pieces of a body in chunked coding; answers what came back.
async fn chunked(rig: &Rig, pieces: usize, bytes: usize) -> String {
    let mut stream = TcpStream::connect(rig.gateway.bound.http.unwrap()).await.unwrap();
    let head =
        "POST /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let piece = format!("{bytes:x}\r\n{}\r\n", "x".repeat(bytes));
    for _ in 0..pieces {
        stream.write_all(piece.as_bytes()).await.unwrap();
    }
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_body_without_declared_length_is_counted_as_it_streams() {
    let origin = Origin::start("one").await;
    let mut limited = route("/a", origin.address);
    limited["plugins"] = json!({"client-control": {"max_body_size": 100_000}});
    let rig = Rig::start(&[("routes/1", limited)]).await;
    let small = chunked(&rig, 10, 10_000).await;
    assert!(small.starts_with("HTTP/1.1 200 "), "{small}");
    let large = chunked(&rig, 100, 10_000).await;
    assert!(large.starts_with("HTTP/1.1 413 "), "{large}");
    assert!(large.ends_with("</html>\r\n"), "the answer arrives whole: {large}");
}

#[tokio::test]
async fn a_repeated_body_is_not_counted_twice() {
    let origin = Origin::start("one").await;
    // The first node takes the request and hangs up, so that the body is sent again.
    let rude = TcpListener::bind(local()).await.unwrap();
    let address = rude.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = rude.accept().await {
            let mut buffer = [0; 4096];
            while !buffer.ends_with(b"0\r\n\r\n") {
                let read = stream.read(&mut buffer).await.unwrap();
                if read == 0 || buffer[..read].ends_with(b"0\r\n\r\n") {
                    break;
                }
            }
        }
    });
    let nodes = json!([
        {"host": "127.0.0.1", "port": address.port(), "weight": 1, "priority": 1},
        {"host": "127.0.0.1", "port": origin.address.port(), "weight": 1, "priority": 0},
    ]);
    let rig = Rig::start(&[(
        "routes/1",
        json!({"uri": "/a", "upstream": {"nodes": nodes},
            "plugins": {"client-control": {"max_body_size": 1500}}}),
    )])
    .await;
    let body = futures::stream::iter([Ok::<_, std::io::Error>("x".repeat(1000))]);
    let request = rig.gateway.client.put(rig.gateway.url("/a"));
    let response = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn a_declared_body_that_is_too_large_is_refused_and_the_answer_arrives() {
    let origin = Origin::start("one").await;
    let mut limited = route("/a", origin.address);
    limited["plugins"] = json!({"client-control": {"max_body_size": 1000}});
    let rig = Rig::start(&[("routes/1", limited)]).await;
    for _ in 0..3 {
        let request = rig.gateway.client.post(rig.gateway.url("/a"));
        let response = request.body(vec![b'x'; 5_000_000]).send().await.unwrap();
        assert_eq!(response.status(), 413);
    }
    assert_eq!(origin.requests(), 0);
}
