//! A new process takes over from a running gateway, and bodies of any size pass at constant memory.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gantry_testkit::{Database, Origin, client};
use reqwest::{Body, Client};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::harness::{Gateway, Installation, api, eventually};

/// A gateway with one API at `/shop/a`.
async fn start(backend: SocketAddr) -> (Installation, Gateway) {
    let gantry = Installation::start(Database::Sqlite).await;
    let gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", backend).await;
    gantry.api(&shop, api("a", "/a")).await;
    gateway.applied(gantry.revision().await).await;
    (gantry, gateway)
}

/// Sends requests until told to stop; answers how many there were. Every one has to succeed.
async fn load(client: Client, url: String, stop: Arc<AtomicBool>, sent: Arc<AtomicUsize>) {
    while !stop.load(Ordering::Relaxed) {
        let response = client.get(&url).send().await.expect("no connection is refused or reset");
        assert_eq!(response.status(), 200);
        response.bytes().await.expect("every answer arrives whole");
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_under_load_loses_no_request() {
    let origin = Origin::start("backend").await;
    let (_gantry, mut gateway) = start(origin.address).await;
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let url = gateway.http("/shop/a");
    // Connections that are kept alive, and a new one for every request.
    let fresh = || client_without_pool();
    let clients = [client(), client(), fresh(), fresh()];
    let loads = clients.map(|client| {
        tokio::spawn(load(client, url.clone(), Arc::clone(&stop), Arc::clone(&sent)))
    });
    let more = async || {
        let before = sent.load(Ordering::Relaxed);
        eventually("requests go on", || async { sent.load(Ordering::Relaxed) >= before + 100 })
            .await;
    };
    more().await;
    for _ in 0..3 {
        let old = gateway.upgrade().await;
        more().await;
        assert!(old.ended().await.success());
        more().await;
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.unwrap();
    }
}

fn client_without_pool() -> Client {
    client::builder().pool_max_idle_per_host(0).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_cannot_start_changes_nothing() {
    let origin = Origin::start("backend").await;
    let (_gantry, gateway) = start(origin.address).await;
    let failed = gateway.try_upgrade(&["--trusted-addresses", "everybody"]).await;
    assert!(failed.contains("neither an address nor a network"), "{failed}");
    assert_eq!(gateway.get("/shop/a").await.status(), 200);
}

/// The most memory the gateway ever had, in KiB.
fn peak(gateway: &Gateway) -> u64 {
    let pid = gateway.process.as_ref().unwrap().pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

const MIB: usize = 1 << 20;
const UPLOAD: usize = 24 * MIB;
const DOWNLOAD: usize = 1024 * MIB;

/// A backend that reads a body, counts it, and answers with a large one.
async fn backend() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, read) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counter = Arc::clone(&read);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut buffer = vec![0; MIB];
                let mut head = Vec::new();
                while !head.windows(4).any(|window| window == b"\r\n\r\n") {
                    if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                        return;
                    }
                }
                let end = head.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
                counter.fetch_add(head.len() - end, Ordering::Relaxed);
                while counter.load(Ordering::Relaxed) < UPLOAD {
                    counter.fetch_add(stream.read(&mut buffer).await.unwrap(), Ordering::Relaxed);
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {DOWNLOAD}\r\n\r\n");
                stream.write_all(head.as_bytes()).await.unwrap();
                for _ in 0..DOWNLOAD / MIB {
                    stream.write_all(&buffer).await.unwrap();
                }
            });
        }
    });
    (address, read)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_pass_at_constant_memory() {
    let (address, read) = backend().await;
    let (_gantry, gateway) = start(address).await;
    let before = peak(&gateway);
    let upload = Body::from(vec![b'x'; UPLOAD]);
    let mut response =
        client().post(gateway.http("/shop/a")).body(upload).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let mut received = 0;
    while let Some(chunk) = response.chunk().await.unwrap() {
        received += chunk.len();
    }
    assert_eq!((read.load(Ordering::Relaxed), received), (UPLOAD, DOWNLOAD));
    let grown = peak(&gateway) - before;
    assert!(grown < 16 * 1024, "{grown} KiB more than before");
}
