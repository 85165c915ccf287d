//! A small etcd: one directory in memory, ranges and watches with full history.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
};

use gantry_etcd_proto::{
    etcdserverpb::{
        CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
        PutResponse, RangeRequest, RangeResponse, ResponseHeader, TxnRequest, TxnResponse,
        WatchRequest, WatchResponse,
        kv_server::{Kv, KvServer},
        watch_request::RequestUnion,
        watch_server::{Watch, WatchServer},
    },
    mvccpb::{Event, KeyValue, event::EventType},
};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming, transport::Server};

#[derive(Default)]
struct Store {
    keys: BTreeMap<String, (String, i64)>,
    history: Vec<Event>,
    compacted: i64,
}

/// The store and a handle to the server in front of it.
#[derive(Clone)]
pub struct Etcd {
    store: Arc<Mutex<Store>>,
    revision: Arc<watch::Sender<i64>>,
}

impl Default for Etcd {
    fn default() -> Self {
        Self { store: Arc::default(), revision: Arc::new(watch::Sender::new(1)) }
    }
}

impl Etcd {
    /// Serves on an address until the token is cancelled.
    pub async fn serve(&self, address: SocketAddr, stop: CancellationToken) -> SocketAddr {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(KvServer::new(self.clone()))
            .add_service(WatchServer::new(self.clone()));
        tokio::spawn(async move {
            let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
            tokio::select! {
                served = serving => served.unwrap(),
                () = stop.cancelled() => {}
            }
        });
        address
    }

    /// Serves on any port with TLS, as long as the test runs.
    pub async fn serve_tls(&self, certificate: &str, key: &str) -> SocketAddr {
        let listener = TcpListener::bind(crate::harness::local()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = tonic::transport::Identity::from_pem(certificate, key);
        let tls = tonic::transport::ServerTlsConfig::new().identity(identity);
        let server = Server::builder()
            .tls_config(tls)
            .unwrap()
            .add_service(KvServer::new(self.clone()))
            .add_service(WatchServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    /// Writes one key below `/apisix/`; answers the revision.
    pub fn put(&self, key: &str, value: &Value) -> i64 {
        self.put_text(key, &value.to_string())
    }

    /// Writes any text.
    pub fn put_text(&self, key: &str, text: &str) -> i64 {
        self.change(key, Some(text))
    }

    /// Deletes one key.
    pub fn delete(&self, key: &str) -> i64 {
        self.change(key, None)
    }

    /// Forgets the history.
    pub fn compact(&self) {
        let mut store = self.store.lock().unwrap();
        store.history.clear();
        store.compacted = *self.revision.borrow();
    }

    fn change(&self, key: &str, value: Option<&str>) -> i64 {
        let key = format!("/apisix/{key}");
        let mut store = self.store.lock().unwrap();
        let revision = *self.revision.borrow() + 1;
        match value {
            Some(value) => store.keys.insert(key.clone(), (value.to_owned(), revision)),
            None => store.keys.remove(&key),
        };
        let kind = if value.is_some() { EventType::Put } else { EventType::Delete };
        let kv = KeyValue {
            key: key.into(),
            value: value.unwrap_or_default().to_owned().into(),
            mod_revision: revision,
            ..KeyValue::default()
        };
        store.history.push(Event { r#type: kind as i32, kv: Some(kv), ..Event::default() });
        self.revision.send_replace(revision);
        revision
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: *self.revision.borrow(), ..ResponseHeader::default() })
    }

    fn after(&self, from: i64) -> Result<WatchResponse, WatchResponse> {
        let store = self.store.lock().unwrap();
        let answer = WatchResponse { header: self.header(), ..WatchResponse::default() };
        if from <= store.compacted {
            return Err(WatchResponse {
                canceled: true,
                compact_revision: store.compacted,
                ..answer
            });
        }
        let fresh = |event: &&Event| event.kv.as_ref().is_some_and(|kv| kv.mod_revision >= from);
        Ok(WatchResponse {
            events: store.history.iter().filter(fresh).cloned().collect(),
            ..answer
        })
    }
}

#[tonic::async_trait]
impl Kv for Etcd {
    async fn range(
        &self,
        _request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        let store = self.store.lock().unwrap();
        let kv = |(key, (value, revision)): (&String, &(String, i64))| KeyValue {
            key: key.clone().into(),
            value: value.clone().into(),
            mod_revision: *revision,
            ..KeyValue::default()
        };
        let kvs = store.keys.iter().map(kv).collect();
        Ok(Response::new(RangeResponse { header: self.header(), kvs, ..RangeResponse::default() }))
    }

    async fn put(&self, _request: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Err(Status::unimplemented("put"))
    }

    async fn delete_range(
        &self,
        _request: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("delete_range"))
    }

    async fn txn(&self, _request: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented("txn"))
    }

    async fn compact(
        &self,
        _request: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("compact"))
    }
}

type Answers = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

#[tonic::async_trait]
impl Watch for Etcd {
    type WatchStream = Answers;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Answers>, Status> {
        let mut requests = request.into_inner();
        let first = requests.next().await.ok_or_else(|| Status::aborted("no request"))??;
        let Some(RequestUnion::CreateRequest(create)) = first.request_union else {
            return Err(Status::unimplemented("only watches are created here"));
        };
        let (answers, stream) = tokio::sync::mpsc::channel(16);
        let (etcd, mut from) = (self.clone(), create.start_revision);
        tokio::spawn(async move {
            let _requests = requests;
            let mut changed = etcd.revision.subscribe();
            let created =
                WatchResponse { created: true, header: etcd.header(), ..WatchResponse::default() };
            let mut going = answers.send(Ok(created)).await.is_ok();
            while going {
                let newest = *changed.borrow_and_update();
                going = match etcd.after(from) {
                    Err(cancelled) => {
                        let _ = answers.send(Ok(cancelled)).await;
                        false
                    }
                    Ok(answer) if answer.events.is_empty() => true,
                    Ok(answer) => answers.send(Ok(answer)).await.is_ok(),
                };
                from = from.max(newest + 1);
                tokio::select! {
                    moved = changed.changed() => going &= moved.is_ok(),
                    () = answers.closed() => going = false,
                }
            }
        });
        Ok(Response::new(Box::pin(tokio_stream::wrappers::ReceiverStream::new(stream))))
    }
}
