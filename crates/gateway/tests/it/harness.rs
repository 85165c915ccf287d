//! Starts gateways and waits for what they have applied.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use gantry_gateway::{Bound, ClientOptions, Options, Source, SourceTls};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::etcd::Etcd;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running gateway. Dropping it stops it.
pub struct Gateway {
    pub bound: Bound,
    pub client: reqwest::Client,
    shutdown: CancellationToken,
    thread: Option<std::thread::JoinHandle<Result<(), gantry_gateway::Error>>>,
}

/// Any free port of this machine.
pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn options(endpoint: &str, data_dir: &Path, clients: ClientOptions) -> Options {
    Options {
        http: Some(local()),
        https: Some(local()),
        status: Some(local()),
        data_dir: PathBuf::from(data_dir),
        source: Source::Etcd(gantry_gateway::Etcd {
            endpoints: vec![endpoint.to_owned()],
            prefix: "/apisix".to_owned(),
            tls: SourceTls::default(),
            login: None,
        }),
        access_log: Some(data_dir.join("access.log")),
        heartbeat: None,
        metrics_interval: None,
        series: gantry_gateway::SeriesOptions::default(),
        instance_id: None,
        threads: Some(2),
        fallback_server_name: None,
        clients,
        grace: Duration::from_secs(3),
        dns: Vec::new(),
        upgrade: false,
        cache: None,
        on_bound: None,
    }
}

/// Why a gateway does not start with these rules for clients.
pub fn refused(data_dir: &Path, clients: ClientOptions) -> gantry_gateway::Error {
    let options = options("http://127.0.0.1:1", data_dir, clients);
    gantry_gateway::run(options, CancellationToken::new()).unwrap_err()
}

impl Gateway {
    /// Starts a gateway on a source, with its data in a directory.
    pub fn start(endpoint: &str, data_dir: &Path) -> Self {
        Self::start_with(endpoint, data_dir, ClientOptions::default())
    }

    /// The same with other rules for clients.
    pub fn start_with(endpoint: &str, data_dir: &Path, clients: ClientOptions) -> Self {
        let shutdown = CancellationToken::new();
        let (sender, receiver) = std::sync::mpsc::channel();
        let options = Options {
            on_bound: Some(Box::new(move |bound| sender.send(bound).unwrap())),
            ..options(endpoint, data_dir, clients)
        };
        let token = shutdown.clone();
        let thread = std::thread::spawn(move || gantry_gateway::run(options, token));
        let bound = receiver.recv().unwrap();
        Self { bound, client: gantry_testkit::client(), shutdown, thread: Some(thread) }
    }

    /// The URL of a path on the HTTP listener.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.bound.http.unwrap())
    }

    /// GETs a path as a host.
    pub async fn get(&self, host: &str, path: &str) -> reqwest::Response {
        self.client.get(self.url(path)).header("Host", host).send().await.unwrap()
    }

    /// GETs a path and reads status and body.
    pub async fn fetch(&self, path: &str) -> (u16, String) {
        let response = self.get("localhost", path).await;
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// GETs a path that an origin answers; its own description of the request.
    pub async fn echo(&self, path: &str) -> Value {
        let (status, body) = self.fetch(path).await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// A page of the status listener.
    pub async fn status(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.bound.status.unwrap());
        let response = self.client.get(url).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    /// What `/status` says.
    pub async fn state(&self) -> Value {
        serde_json::from_str(&self.status("/status").await.1).unwrap()
    }

    /// Waits until a revision is in force.
    pub async fn applied(&self, revision: i64) {
        self.until(|state| state["revision"].as_i64() >= Some(revision)).await;
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, wanted: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let state = self.state().await;
            if wanted(&state) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "still {state}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Stops the gateway and waits for its end.
    pub fn stop(mut self) {
        self.end().unwrap();
    }

    fn end(&mut self) -> Result<(), gantry_gateway::Error> {
        self.shutdown.cancel();
        self.thread.take().map_or(Ok(()), |thread| thread.join().unwrap())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("the gateway ended with: {error}");
        }
    }
}

/// A gateway, its etcd, and what they need to live.
pub struct Rig {
    pub etcd: Etcd,
    pub gateway: Gateway,
    pub etcd_address: SocketAddr,
    pub stop_etcd: CancellationToken,
    pub directory: tempfile::TempDir,
}

impl Rig {
    /// Starts everything, with these resources.
    pub async fn start(resources: &[(&str, Value)]) -> Self {
        Self::start_with(resources, ClientOptions::default()).await
    }

    /// The same with other rules for clients.
    pub async fn start_with(resources: &[(&str, Value)], clients: ClientOptions) -> Self {
        let etcd = Etcd::default();
        let mut revision = 1;
        for (key, value) in resources {
            revision = etcd.put(key, value);
        }
        let stop_etcd = CancellationToken::new();
        let etcd_address = etcd.serve(local(), stop_etcd.clone()).await;
        let directory = tempfile::tempdir().unwrap();
        let endpoint = format!("http://{etcd_address}");
        let gateway = Gateway::start_with(&endpoint, directory.path(), clients);
        gateway.applied(revision).await;
        Self { etcd, gateway, etcd_address, stop_etcd, directory }
    }

    /// Writes a resource and waits until it is in force.
    pub async fn put(&self, key: &str, value: &Value) {
        let revision = self.etcd.put(key, value);
        self.gateway.applied(revision).await;
    }
}

/// A route for paths to one node.
pub fn route(uri: &str, node: SocketAddr) -> Value {
    json!({"uri": uri, "upstream": {"nodes": {node.to_string(): 1}}})
}
