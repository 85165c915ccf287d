//! How a gateway stops.

use std::time::{Duration, Instant};

use gantry_testkit::Origin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::harness::{Rig, local, route};

/// Far below the time that requests in flight are granted.
const AT_ONCE: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_do_not_delay_the_end() {
    let origin = Origin::start("one").await;
    let Rig { gateway, directory, .. } =
        Rig::start(&[("routes/1", route("/", origin.address))]).await;
    // One that never said anything, one that never finished its handshake, one that is kept alive.
    let silent = TcpStream::connect(gateway.bound.http.unwrap()).await.unwrap();
    let shy = TcpStream::connect(gateway.bound.https.unwrap()).await.unwrap();
    gateway.echo("/").await;
    let client = gateway.client.clone();
    let start = Instant::now();
    tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    drop((silent, shy, client, directory));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_brought_to_its_end() {
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let Rig { gateway, directory, .. } = Rig::start(&[("routes/1", route("/", address))]).await;
    let answer = tokio::spawn(gateway.client.get(gateway.url("/")).send());
    let (mut node, _) = listener.accept().await.unwrap();
    let _ = node.read(&mut [0; 4096]).await.unwrap();
    let http = gateway.bound.http.unwrap();
    let stopping = tokio::task::spawn_blocking(move || gateway.stop());
    // The listener is gone as soon as the gateway has heard of its end.
    while TcpStream::connect(http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    node.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone").await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().text().await.unwrap(), "done");
    stopping.await.unwrap();
    drop(directory);
}
