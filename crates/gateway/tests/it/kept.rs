//! Connections to nodes: how many are kept, and for how many requests.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use gantry_etcd_proto::etcdserverpb::{RangeRequest, kv_client::KvClient};
use gantry_gateway::ClientOptions;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Barrier,
};
use tonic::transport::Endpoint;

use crate::{
    etcd::Etcd,
    harness::{Rig, local, route},
};

/// Requests that are answered together.
const TOGETHER: usize = 12;
/// Threads of a gateway in these tests, each of which keeps its own.
const THREADS: usize = 2;

/// A node that knows its connections. It answers `/together` when so many have asked.
struct Node {
    address: SocketAddr,
    counts: Arc<Counts>,
}

struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    /// The most requests that came by one connection.
    requests_max: AtomicUsize,
    together: Barrier,
}

impl Node {
    async fn start() -> Self {
        let listener = TcpListener::bind(local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts {
            accepted: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            requests_max: AtomicUsize::new(0),
            together: Barrier::new(TOGETHER),
        });
        let shared = Arc::clone(&counts);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.accepted.fetch_add(1, Ordering::SeqCst);
                shared.open.fetch_add(1, Ordering::SeqCst);
                let counts = Arc::clone(&shared);
                tokio::spawn(async move {
                    counts.serve(stream).await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, counts }
    }

    fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Waits until there are so many connections at most.
    async fn until_open(&self, most: usize) {
        let start = Instant::now();
        while self.open() > most {
            assert!(start.elapsed() < Duration::from_secs(30), "{} are open", self.open());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Counts {
    async fn serve(&self, mut stream: TcpStream) {
        let (mut bytes, mut requests) = (Vec::new(), 0);
        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            let head = String::from_utf8_lossy(&bytes).into_owned();
            if !head.ends_with("\r\n\r\n") {
                continue;
            }
            bytes.clear();
            requests += 1;
            self.requests_max.fetch_max(requests, Ordering::SeqCst);
            if head.contains(" /together") {
                self.together.wait().await;
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    }
}

fn bounded(uri: &str, node: &Node, pool: Value) -> Value {
    let mut route = route(uri, node.address);
    route["upstream"]["keepalive_pool"] = pool;
    route
}

async fn all_at_once(rig: &Rig) {
    let asked = (0..TOGETHER).map(|_| rig.gateway.fetch("/together"));
    for (status, _) in futures::future::join_all(asked).await {
        assert_eq!(status, 200);
    }
}

#[tokio::test]
async fn no_more_idle_connections_are_kept_than_wanted() {
    let (node, free) = (Node::start().await, Node::start().await);
    let size = |size: u32| {
        bounded("/*", &node, json!({"size": size, "idle_timeout": 60, "requests": 1000}))
    };
    let rig = Rig::start(&[("routes/1", route("/*", free.address))]).await;
    all_at_once(&rig).await;
    assert_eq!((free.accepted(), free.open()), (TOGETHER, TOGETHER), "nobody has said a size");
    rig.put("routes/1", &size(2)).await;
    for round in 0..3 {
        all_at_once(&rig).await;
        node.until_open(2 * THREADS).await;
        // Those that are kept are used.
        for _ in 0..10 {
            rig.gateway.fetch("/").await;
        }
        assert!(node.open() > 0 && node.open() <= 2 * THREADS, "in round {round}");
    }
    let kept = node.accepted() - node.open();
    assert!(kept < 3 * TOGETHER, "some were used again");
    // Connections that are in use are not bounded, and with enough room none is closed.
    rig.put("routes/1", &size(100)).await;
    all_at_once(&rig).await;
    let accepted = node.accepted();
    for _ in 0..20 {
        rig.gateway.fetch("/").await;
    }
    assert_eq!(node.accepted(), accepted);
}

#[tokio::test]
async fn a_connection_ends_after_its_last_request() {
    let node = Node::start().await;
    let pool = json!({"size": 10, "idle_timeout": 60, "requests": 3});
    let rig = Rig::start(&[("routes/1", bounded("/*", &node, pool))]).await;
    for _ in 0..12 {
        // Also what must not be repeated arrives.
        let request = rig.gateway.client.post(rig.gateway.url("/"));
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    assert_eq!(node.counts.requests_max.load(Ordering::SeqCst), 3);
    assert!((4..=4 + THREADS).contains(&node.accepted()), "{}", node.accepted());
    node.until_open(THREADS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_do_not_fail_on_connections_that_end() {
    let etcd = Etcd::default();
    etcd.put("a", &json!(1));
    let node = etcd.serve(local(), Default::default()).await;
    let pool = json!({"size": 1, "idle_timeout": 60, "requests": 2});
    let upstream =
        json!({"scheme": "grpc", "nodes": {node.to_string(): 1}, "keepalive_pool": pool});
    let resources = [("routes/1", json!({"uri": "/*", "upstream": upstream}))];
    let clients = ClientOptions { h2c: true, ..ClientOptions::default() };
    let rig = Rig::start_with(&resources, clients).await;
    let channel = Endpoint::from_shared(rig.gateway.url("")).unwrap().connect().await.unwrap();
    for _ in 0..10 {
        let calls = (0..10)
            .map(async |_| KvClient::new(channel.clone()).range(RangeRequest::default()).await);
        for answer in futures::future::join_all(calls).await {
            assert_eq!(answer.unwrap().into_inner().kvs.len(), 1);
        }
    }
}
