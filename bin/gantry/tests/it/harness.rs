//! A running server, somebody signed in, and gateways of its cluster.

use std::path::{Path, PathBuf};

use gantry_testkit::{Database, Process, client};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_gantry");
pub const EMAIL: &str = "owner@example.com";
pub const PASSWORD: &str = "correct horse battery staple";

/// A control plane in a folder of its own, with its owner signed in.
pub struct Installation {
    pub folder: TempDir,
    pub database: Database,
    /// Fixed after the first start, so that gateways find the server again.
    api: String,
    dp: String,
    /// More of the server's command line.
    arguments: Vec<String>,
    pub server: Option<Process>,
    pub token: String,
    pub cluster: String,
}

impl Installation {
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, &[]).await
    }

    /// The same with more on the server's command line.
    pub async fn start_with(database: Database, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut installation = Self {
            folder,
            database,
            api: "127.0.0.1:0".into(),
            dp: "127.0.0.1:0".into(),
            arguments: arguments.iter().map(|one| (*one).to_owned()).collect(),
            server: None,
            token: String::new(),
            cluster: String::new(),
        };
        installation.start_server().await;
        installation.sign_in().await;
        installation
    }

    /// Starts the server, again on the addresses of the first time.
    pub async fn start_server(&mut self) {
        let data = self.data();
        let mut arguments =
            vec!["server", "--data", &data, "--listen-api", &self.api, "--listen-dp", &self.dp];
        arguments.extend(["--listen-metrics", "127.0.0.1:0"]);
        if let Some(url) = self.database.url() {
            arguments.extend(["--database", url]);
        }
        arguments.extend(self.arguments.iter().map(String::as_str));
        let owner = [("GANTRY_ADMIN_EMAIL", EMAIL), ("GANTRY_ADMIN_PASSWORD", PASSWORD)];
        let server = Process::start_with(BINARY, &arguments, &owner, self.folder.path()).await;
        self.api = strip(server.address("api"));
        self.dp = strip(server.address("dp"));
        self.server = Some(server);
    }

    /// Another server on the same PostgreSQL, with a folder and ports of its own.
    pub async fn second_server(&self) -> Process {
        let folder = self.folder.path().join("second");
        std::fs::create_dir_all(&folder).expect("a folder");
        let key = self.folder.path().join("data").join("master.key");
        std::fs::copy(key, folder.join("master.key")).expect("a key");
        let data = folder.display().to_string();
        let anywhere = "127.0.0.1:0";
        let url = self.database.url().expect("PostgreSQL");
        let mut arguments = vec!["server", "--data", &data, "--database", url];
        arguments.extend(["--listen-api", anywhere, "--listen-dp", anywhere]);
        arguments.extend(["--listen-metrics", anywhere]);
        arguments.extend(self.arguments.iter().map(String::as_str));
        Process::start(BINARY, &arguments, self.folder.path()).await
    }

    /// SIGKILL for the server.
    pub async fn kill_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    async fn sign_in(&mut self) {
        let body = json!({ "email": EMAIL, "password": PASSWORD });
        let answer = self.call(Method::POST, "/user/login", Some(body)).await;
        self.token = text(&answer["token"]);
        let me = self.call(Method::GET, "/user/me", None).await;
        let organization = text(&me["org_ids"][0]);
        let clusters =
            self.call(Method::GET, &format!("/orgs/{organization}/clusters"), None).await;
        self.cluster = text(&clusters["list"][0]["id"]);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1{path}", self.api)
    }

    /// Calls the management API and expects success; answers the payload.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Value {
        let answer = self.try_call(method.clone(), path, body).await.expect("an answer");
        assert_eq!(answer["status"]["code"], 0, "{method} {path}: {answer}");
        answer["payload"].clone()
    }

    /// The same when the server may be gone: the whole envelope, or nothing.
    pub async fn try_call(&self, method: Method, path: &str, body: Option<Value>) -> Option<Value> {
        let mut request = client().request(method, self.url(path)).bearer_auth(&self.token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.ok()?.json().await.ok()
    }

    /// `/clusters/{id}` and what follows.
    pub fn cluster_path(&self, rest: &str) -> String {
        format!("/clusters/{}{rest}", self.cluster)
    }

    /// An application for `127.0.0.1` with one backend; answers its id.
    pub async fn application(
        &self,
        name: &str,
        prefix: &str,
        backend: std::net::SocketAddr,
    ) -> String {
        let body = application(name, prefix, backend);
        text(&self.call(Method::POST, &self.cluster_path("/apps"), Some(body)).await["id"])
    }

    /// An API of an application; answers its id.
    pub async fn api(&self, application: &str, body: Value) -> String {
        let path = format!("/apps/{application}/apis");
        text(&self.call(Method::POST, &path, Some(body)).await["id"])
    }

    /// Newest configuration revision of the cluster.
    pub async fn revision(&self) -> i64 {
        self.call(Method::GET, &self.cluster_path(""), None).await["config_version"]
            .as_i64()
            .expect("a number")
    }

    /// Starts a gateway of the cluster with its own folder; `name` tells several apart.
    pub async fn gateway(&self, name: &str) -> Gateway {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).expect("a folder");
        let bundle = self.call(Method::GET, &self.cluster_path("/gateway_certificate"), None).await;
        for (file, field) in
            [("tls.crt", "certificate"), ("tls.key", "private_key"), ("ca.crt", "ca_certificate")]
        {
            std::fs::write(folder.join(file), text(&bundle[field])).expect("a file");
        }
        let mut gateway = Gateway { folder, dp: format!("https://{}", self.dp), process: None };
        gateway.start().await;
        gateway
    }
}

/// A gateway process that can be killed and started again.
pub struct Gateway {
    pub folder: PathBuf,
    dp: String,
    pub process: Option<Process>,
}

impl Gateway {
    pub async fn start(&mut self) {
        let anywhere = ["http", "https", "status"].map(|_| "127.0.0.1:0".to_owned());
        let arguments = self.arguments(anywhere);
        self.process = Some(Process::start(BINARY, &arguments, &self.folder).await);
    }

    /// Starts a successor on the same addresses; answers the process from before, which ends.
    pub async fn upgrade(&mut self) -> Process {
        let mut arguments =
            self.arguments(["http", "https", "status"].map(|name| self.address(name)));
        arguments.push("--upgrade".to_owned());
        let successor = Process::start(BINARY, &arguments, &self.folder).await;
        self.process.replace(successor).expect("a running gateway")
    }

    /// Starts a successor that is expected to fail; answers what it says.
    pub async fn try_upgrade(&self, more: &[&str]) -> String {
        let mut arguments =
            self.arguments(["http", "https", "status"].map(|name| self.address(name)));
        arguments.push("--upgrade".to_owned());
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let output = tokio::process::Command::new(BINARY).args(arguments).output().await;
        let output = output.expect("the binary starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// The command line for listeners at these addresses.
    fn arguments(&self, [http, https, status]: [String; 3]) -> Vec<String> {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let pairs = [
            ("--data", path("data")),
            ("--control-plane", self.dp.clone()),
            ("--tls-cert", path("tls.crt")),
            ("--tls-key", path("tls.key")),
            ("--tls-ca", path("ca.crt")),
            ("--listen-http", http),
            ("--listen-https", https),
            ("--listen-status", status),
            ("--threads", "1".to_owned()),
            ("--metrics-interval-ms", "100".to_owned()),
        ];
        let words = pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        std::iter::once("gateway".to_owned()).chain(words).collect()
    }

    pub async fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill().await;
        }
    }

    /// Lets requests and reports come to their end.
    pub async fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            assert!(process.stop().await.success());
        }
    }

    fn address(&self, name: &str) -> String {
        strip(self.process.as_ref().expect("a running gateway").address(name))
    }

    pub fn http(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http"))
    }

    /// Host and port of the TLS listener.
    pub fn https(&self) -> String {
        self.address("https")
    }

    /// What Prometheus would scrape.
    pub async fn metrics(&self) -> String {
        let url = format!("http://{}/apisix/prometheus/metrics", self.address("status"));
        client().get(url).send().await.expect("metrics").text().await.expect("text")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        client().get(self.http(path)).send().await.expect("an answer of the gateway")
    }

    /// The gateway's own account of itself.
    pub async fn status(&self) -> Value {
        let url = format!("http://{}/status", self.address("status"));
        client().get(url).send().await.expect("a status").json().await.expect("JSON")
    }

    /// Waits until the gateway has applied at least `revision`.
    pub async fn applied(&self, revision: i64) {
        eventually(&format!("gateway applies revision {revision}"), || async {
            self.status().await["revision"].as_i64().is_some_and(|now| now >= revision)
        })
        .await;
    }
}

/// Polls until `condition` holds; fails the test after half a minute.
pub async fn eventually<F>(what: &str, condition: impl Fn() -> F)
where
    F: Future<Output = bool>,
{
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(10));
    while !condition().await {
        assert!(tokio::time::Instant::now() < limit, "{what}: not within 30 s");
        tick.tick().await;
    }
}

/// The body of an application for `127.0.0.1` with one backend.
pub fn application(name: &str, prefix: &str, backend: std::net::SocketAddr) -> Value {
    json!({
        "name": name,
        "hosts": ["127.0.0.1"],
        "path_prefix": prefix,
        "upstreams": [{ "version": "default", "upstream": {
            "scheme": "http",
            "targets": [{ "host": backend.ip().to_string(), "port": backend.port(), "weight": 1 }],
        } }],
    })
}

/// The body of an API with one path.
pub fn api(name: &str, path: &str) -> Value {
    json!({ "name": name, "paths": [{ "path": path, "path_type": "Exact" }] })
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

pub fn strip(url: &str) -> String {
    url.rsplit_once("://").map_or(url, |(_, address)| address).to_owned()
}

/// Runs a verb of the binary to its end.
pub fn run(arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(BINARY).args(arguments).output().expect("the binary runs")
}

/// The newest file of the gateway's configuration cache.
pub fn cache_file(gateway: &Path) -> PathBuf {
    gateway.join("data").join("configuration.sealed")
}
