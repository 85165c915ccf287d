//! A change that gets lost between server and gateway is noticed and repaired.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gantry_etcd_proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, PutRequest,
    PutResponse, RangeRequest, RangeResponse, TxnRequest, TxnResponse, WatchRequest, WatchResponse,
    kv_client::KvClient,
    kv_server::{Kv, KvServer},
    watch_client::WatchClient,
    watch_server::{Watch, WatchServer},
};
use gantry_gateway::{ClientOptions, Etcd, Options, Source, SourceTls};
use gantry_testkit::{Database, Origin};
use reqwest::Method;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Installation, api, text};

/// A lost change has to be repaired by then.
const REPAIRED: Duration = Duration::from_secs(10);

/// Passes everything between a gateway and a server on, but for what a test wants to be lost.
#[derive(Clone)]
struct Proxy {
    server: Channel,
    /// The next change gets lost.
    lose: Arc<AtomicBool>,
    /// The next change arrives as a change of another key.
    spoil: Arc<AtomicBool>,
    /// Nothing more arrives, although connections stay open.
    stall: Arc<AtomicBool>,
}

#[tonic::async_trait]
impl Kv for Proxy {
    async fn range(
        &self,
        request: Request<RangeRequest>,
    ) -> Result<Response<RangeResponse>, Status> {
        KvClient::new(self.server.clone()).range(request.into_inner()).await
    }

    async fn put(&self, _: Request<PutRequest>) -> Result<Response<PutResponse>, Status> {
        Err(Status::unimplemented("put"))
    }

    async fn delete_range(
        &self,
        _: Request<DeleteRangeRequest>,
    ) -> Result<Response<DeleteRangeResponse>, Status> {
        Err(Status::unimplemented("delete_range"))
    }

    async fn txn(&self, _: Request<TxnRequest>) -> Result<Response<TxnResponse>, Status> {
        Err(Status::unimplemented("txn"))
    }

    async fn compact(
        &self,
        _: Request<CompactionRequest>,
    ) -> Result<Response<CompactionResponse>, Status> {
        Err(Status::unimplemented("compact"))
    }
}

#[tonic::async_trait]
impl Watch for Proxy {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<WatchRequest>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let asked = request.into_inner().filter_map(Result::ok);
        let answers = WatchClient::new(self.server.clone()).watch(asked).await?.into_inner();
        let proxy = self.clone();
        // A stall is over for who comes anew.
        proxy.stall.store(false, Ordering::SeqCst);
        let passed = answers.filter_map(move |answer| {
            let mut answer = answer;
            let events = answer.as_mut().map_or(&mut [][..], |answer| &mut answer.events[..]);
            let is_change = !events.is_empty();
            if is_change && proxy.spoil.swap(false, Ordering::SeqCst) {
                let entries = events.iter_mut().filter_map(|event| event.kv.as_mut());
                entries.for_each(|entry| entry.key = [&entry.key[..], b"x"].concat().into());
            }
            let is_lost = is_change && proxy.lose.swap(false, Ordering::SeqCst);
            (!is_lost && !proxy.stall.load(Ordering::SeqCst)).then_some(answer)
        });
        Ok(Response::new(Box::pin(passed)))
    }
}

/// An installation with a gateway behind a proxy that loses things.
struct Rig {
    gantry: Installation,
    proxy: Proxy,
    http: String,
    app: String,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    async fn start(database: Database) -> Self {
        let gantry = Installation::start(database).await;
        let path = gantry.cluster_path("/gateway_certificate");
        let bundle = gantry.call(Method::GET, &path, None).await;
        let server = gantry.server.as_ref().unwrap().address("dp").to_owned();
        let (certificate, key) = (text(&bundle["certificate"]), text(&bundle["private_key"]));
        let ca = text(&bundle["ca_certificate"]);
        let tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(&ca))
            .identity(Identity::from_pem(&certificate, &key));
        let channel = Endpoint::from_shared(server.clone()).unwrap().tls_config(tls).unwrap();
        let proxy = Proxy {
            server: channel.connect().await.unwrap(),
            lose: Arc::default(),
            spoil: Arc::default(),
            stall: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Server::builder()
            .add_service(KvServer::new(proxy.clone()))
            .add_service(WatchServer::new(proxy.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(serving);
        let source = Source::Etcd(Etcd {
            endpoints: vec![format!("http://{address}")],
            prefix: "/apisix".into(),
            tls: SourceTls {
                authority: Some(ca),
                identity: Some((certificate, key)),
                server_name: None,
            },
            login: None,
        });
        let shutdown = CancellationToken::new();
        let (http, thread) = gateway(source, server, &gantry, shutdown.clone()).await;
        let origin = Origin::start("backend").await;
        let app = gantry.application("shop", "/shop", origin.address).await;
        let rig = Self { gantry, proxy, http, app, shutdown, thread: Some(thread) };
        rig.create("first", "").await;
        rig.served("first").await;
        rig
    }

    async fn create(&self, name: &str, query: &str) -> Value {
        let path = format!("/apps/{}/apis{query}", self.app);
        let body = api(name, &format!("/{name}"));
        self.gantry.try_call(Method::POST, &path, Some(body)).await.unwrap()
    }

    /// Waits until the gateway serves an API.
    async fn served(&self, name: &str) {
        let url = format!("{}/shop/{name}", self.http);
        let serving = async {
            while gantry_testkit::client().get(&url).send().await.unwrap().status() != 200 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(REPAIRED, serving).await.unwrap_or_else(|_| panic!("{name} is lost"));
    }

    /// What the only gateway says of itself.
    async fn instance(&self) -> Value {
        let path = self.gantry.cluster_path("/instances");
        self.gantry.call(Method::GET, &path, None).await["list"][0].clone()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A gateway in this process; the address of its HTTP listener.
async fn gateway(
    source: Source,
    server: String,
    gantry: &Installation,
    shutdown: CancellationToken,
) -> (String, std::thread::JoinHandle<()>) {
    let (sender, bound) = tokio::sync::oneshot::channel();
    let options = Options {
        http: Some(([127, 0, 0, 1], 0).into()),
        https: None,
        status: None,
        data_dir: gantry.folder.path().join("gateway"),
        source,
        heartbeat: Some(server),
        metrics_interval: None,
        series: gantry_gateway::SeriesOptions::default(),
        instance_id: None,
        threads: Some(1),
        access_log: None,
        fallback_server_name: None,
        clients: ClientOptions::default(),
        grace: Duration::from_secs(1),
        dns: Vec::new(),
        upgrade: false,
        cache: None,
        on_bound: Some(Box::new(move |bound| {
            let _ = sender.send(bound);
        })),
    };
    let thread = std::thread::spawn(move || gantry_gateway::run(options, shutdown).unwrap());
    (format!("http://{}", bound.await.unwrap().http.unwrap()), thread)
}

#[tokio::test]
async fn a_change_that_arrives_wrong_is_found_by_its_digest_on_sqlite() {
    wrong_on_arrival(Database::Sqlite).await;
}

#[tokio::test]
async fn a_change_that_arrives_wrong_is_found_by_its_digest_on_postgres() {
    wrong_on_arrival(Database::postgres()).await;
}

/// The gateway believes that it is up to date, and its digest says otherwise.
async fn wrong_on_arrival(database: Database) {
    let rig = Rig::start(database).await;
    rig.proxy.spoil.store(true, Ordering::SeqCst);
    let answer = rig.create("spoilt", "?wait=applied").await;
    assert!(!rig.proxy.spoil.load(Ordering::SeqCst), "the change was spoilt");
    // Applied is what the digest agrees with, so nothing has to be waited for.
    assert_eq!(answer["delivery"]["outcome"], "applied", "{answer}");
    rig.served("spoilt").await;
    let instance = rig.instance().await;
    assert_eq!(instance["differs"], false, "{instance}");
    assert_eq!(instance["config_version"], rig.gantry.revision().await);
}

#[tokio::test]
async fn a_lost_change_is_found_by_the_number_of_the_next() {
    let rig = Rig::start(Database::Sqlite).await;
    rig.proxy.lose.store(true, Ordering::SeqCst);
    rig.create("lost", "").await;
    let answer = rig.create("second", "?wait=applied").await;
    assert_eq!(answer["delivery"]["outcome"], "applied", "{answer}");
    assert!(!rig.proxy.lose.load(Ordering::SeqCst), "the change was lost");
    rig.served("lost").await;
    rig.served("second").await;
}

#[tokio::test]
async fn a_lost_change_that_none_follows_is_found_by_asking() {
    let rig = Rig::start(Database::Sqlite).await;
    rig.proxy.lose.store(true, Ordering::SeqCst);
    let answer = rig.create("lost", "?wait=applied").await;
    assert!(!rig.proxy.lose.load(Ordering::SeqCst), "the change was lost");
    assert_eq!(answer["delivery"]["outcome"], "applied", "{answer}");
    rig.served("lost").await;
}

#[tokio::test]
async fn a_watch_that_has_fallen_silent_is_given_up() {
    let rig = Rig::start(Database::Sqlite).await;
    rig.proxy.stall.store(true, Ordering::SeqCst);
    let answer = rig.create("stalled", "?wait=applied").await;
    assert_eq!(answer["delivery"]["outcome"], "applied", "{answer}");
    rig.served("stalled").await;
}
