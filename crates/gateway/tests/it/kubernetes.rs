//! An API server of Kubernetes as far as EndpointSlices go: lists in pages, watches in chunks, with
//! bookmarks, compaction and connections that break.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{harness::local, node::Identity};

/// What every request has to show.
pub const TOKEN: &str = "a-token";

#[derive(Clone)]
pub struct ApiServer {
    pub address: SocketAddr,
    pub certificate: String,
    store: Arc<Mutex<Store>>,
    changed: Arc<watch::Sender<u64>>,
    /// While this is true, watches break and nobody is let in.
    down: Arc<watch::Sender<bool>>,
}

#[derive(Default)]
struct Store {
    version: u64,
    slices: BTreeMap<String, Value>,
    history: Vec<(u64, Value)>,
    /// Watches from before this version are refused.
    compacted: u64,
    /// The newest version some watch was told of.
    delivered: u64,
    /// Watches that are open.
    watching: usize,
    lists: usize,
    watches: Vec<String>,
    queries: Vec<String>,
}

impl ApiServer {
    pub async fn start() -> Self {
        let identity = Identity::new();
        let listener = TcpListener::bind(local()).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            certificate: identity.certificate.clone(),
            store: Arc::default(),
            changed: Arc::new(watch::Sender::new(0)),
            down: Arc::new(watch::Sender::new(false)),
        };
        let (acceptor, answering) = (identity.acceptor(), server.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answering.clone().serve(stream, acceptor.clone()));
            }
        });
        server
    }

    /// Writes a slice of `shop/orders` with one endpoint.
    pub fn put(&self, name: &str, node: SocketAddr) {
        let mut slice = json!({
            "metadata": {
                "name": name, "namespace": "shop",
                "labels": {"kubernetes.io/service-name": "orders"},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [node.ip().to_string()], "conditions": {"ready": true}}],
            "ports": [{"name": "http", "port": node.port(), "protocol": "TCP"}],
        });
        self.change(|store, version| {
            slice["metadata"]["resourceVersion"] = json!(version);
            let before = store.slices.insert(name.to_owned(), slice.clone());
            let kind = if before.is_some() { "MODIFIED" } else { "ADDED" };
            json!({"type": kind, "object": slice})
        });
    }

    pub fn delete(&self, name: &str) {
        self.change(|store, version| {
            let mut slice = store.slices.remove(name).unwrap();
            slice["metadata"]["resourceVersion"] = json!(version);
            json!({"type": "DELETED", "object": slice})
        });
    }

    /// Moves the version without touching any slice.
    pub fn bookmark(&self) {
        self.change(|_, version| {
            json!({"type": "BOOKMARK", "object": {"kind": "EndpointSlice",
                "metadata": {"resourceVersion": version}}})
        });
    }

    fn change(&self, event: impl FnOnce(&mut Store, String) -> Value) {
        let mut store = self.store.lock().unwrap();
        store.version += 1;
        let version = store.version;
        let event = event(&mut store, version.to_string());
        store.history.push((version, event));
        drop(store);
        self.changed.send_replace(version);
    }

    /// Forgets everything before now.
    pub fn compact(&self) {
        let mut store = self.store.lock().unwrap();
        store.compacted = store.version;
        store.history.clear();
    }

    /// Breaks all watches in the middle of a chunk and lets nobody in.
    pub async fn go_down(&self) {
        self.down.send_replace(true);
        while self.store.lock().unwrap().watching > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Lets everybody in again.
    pub fn come_up(&self) {
        self.down.send_replace(false);
    }

    /// How many lists were asked for, and the versions of all watches.
    pub fn asked(&self) -> (usize, Vec<String>) {
        let store = self.store.lock().unwrap();
        (store.lists, store.watches.clone())
    }

    /// Waits until a watch was told of a version.
    pub async fn delivered(&self, version: u64) {
        while self.store.lock().unwrap().delivered < version {
            tokio::task::yield_now().await;
        }
    }

    pub fn queries(&self) -> Vec<String> {
        self.store.lock().unwrap().queries.clone()
    }

    async fn serve(self, stream: TcpStream, acceptor: TlsAcceptor) {
        if *self.down.borrow() {
            return;
        }
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
            if !bytes.ends_with(b"\r\n\r\n") {
                continue;
            }
            if *self.down.borrow() {
                return;
            }
            let head = String::from_utf8(std::mem::take(&mut bytes)).unwrap();
            let target = head.split(' ').nth(1).unwrap();
            let (path, query) = target.split_once('?').unwrap();
            assert_eq!(path, "/apis/discovery.k8s.io/v1/endpointslices");
            if !head.to_lowercase().contains(&format!("authorization: bearer {TOKEN}\r\n")) {
                let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n";
                stream.write_all(refusal.as_bytes()).await.unwrap();
                continue;
            }
            self.store.lock().unwrap().queries.push(query.to_owned());
            let query: BTreeMap<String, String> = serde_urlencoded::from_str(query).unwrap();
            if query.contains_key("watch") {
                self.store.lock().unwrap().watching += 1;
                self.watch(stream, &query["resourceVersion"]).await;
                self.store.lock().unwrap().watching -= 1;
                return;
            }
            let body = self.list(query.get("continue")).to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).await.unwrap();
        }
    }

    /// One slice a page.
    fn list(&self, page: Option<&String>) -> Value {
        let mut store = self.store.lock().unwrap();
        let page: usize = page.map_or(0, |page| page.parse().unwrap());
        if page == 0 {
            store.lists += 1;
        }
        let more =
            if page + 1 < store.slices.len() { (page + 1).to_string() } else { String::new() };
        json!({
            "kind": "EndpointSliceList",
            "metadata": {"resourceVersion": store.version.to_string(), "continue": more},
            "items": store.slices.values().nth(page).into_iter().collect::<Vec<_>>(),
        })
    }

    async fn watch(&self, mut stream: TlsStream<TcpStream>, version: &str) {
        let (mut changed, mut down) = (self.changed.subscribe(), self.down.subscribe());
        self.store.lock().unwrap().watches.push(version.to_owned());
        let mut seen: u64 = version.parse().unwrap();
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        loop {
            let (gone, events) = {
                let store = self.store.lock().unwrap();
                let news = store.history.iter().filter(|(version, _)| *version > seen);
                (seen < store.compacted, news.cloned().collect::<Vec<_>>())
            };
            if gone {
                let status = json!({"type": "ERROR", "object": {"kind": "Status", "code": 410,
                    "reason": "Expired", "message": "too old resource version"}});
                chunk(&mut stream, &format!("{status}\n")).await;
                let _ = stream.write_all(b"0\r\n\r\n").await;
                return;
            }
            for (version, event) in events {
                // An event in two pieces, as networks cut them.
                let line = format!("{event}\n");
                let (one, two) = line.split_at(line.len() / 2);
                chunk(&mut stream, one).await;
                chunk(&mut stream, two).await;
                seen = version;
                self.store.lock().unwrap().delivered = version;
            }
            tokio::select! {
                biased;
                () = async { drop(down.wait_for(|down| *down).await) } => {
                    let _ = stream.write_all(b"ff\r\n{\"type\":").await;
                    return;
                }
                news = changed.changed() => news.unwrap(),
            }
        }
    }
}

async fn chunk(stream: &mut TlsStream<TcpStream>, text: &str) {
    let chunk = format!("{:x}\r\n{text}\r\n", text.len());
    let _ = stream.write_all(chunk.as_bytes()).await;
    let _ = stream.flush().await;
}
