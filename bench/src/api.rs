//! A control plane of one's own, and its management API.

use std::net::SocketAddr;
use std::time::Instant;

use gantry_testkit::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http::Connection;
use crate::load::HOST;
use crate::machine::{processor_seconds, resident_bytes};
use crate::{Options, Outcome};

const EMAIL: &str = "bench@example.com";
const PASSWORD: &str = "a password of the benchmark";

/// A running server with an owner who is signed in; killed when dropped.
pub struct Control {
    process: Process,
    pub folder: TempDir,
    address: SocketAddr,
    token: String,
    pub cluster: String,
}

impl Control {
    pub async fn start(binary: &str, options: &Options) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let process = start(binary, options, &folder).await;
        let address = process.address("api").trim_start_matches("http://").parse()?;
        let mut control =
            Self { process, folder, address, token: String::new(), cluster: String::new() };
        control.sign_in().await?;
        Ok(control)
    }

    /// Stops the server, starts it again on the same data and says how long that took.
    pub async fn restart(self, binary: &str, options: &Options) -> Outcome {
        self.process.stop().await;
        let begin = Instant::now();
        let process = start(binary, options, &self.folder).await;
        let (wall, cpu) = (begin.elapsed().as_secs_f64(), processor_seconds(process.pid()));
        println!("Ready again {wall:.1} s after a restart, with {cpu:.1} s of processor time.\n");
        Ok(())
    }

    /// Seconds of processor time the server has used.
    pub fn processor_seconds(&self) -> f64 {
        processor_seconds(self.process.pid())
    }

    /// Memory the server holds.
    pub fn resident_bytes(&self) -> u64 {
        resident_bytes(self.process.pid())
    }

    async fn sign_in(&mut self) -> Outcome {
        let mut api = self.api().await?;
        let credentials = json!({ "email": EMAIL, "password": PASSWORD });
        let login = api.call("POST", "/api/v1/user/login", Some(&credentials)).await?.payload;
        self.token = text(&login, "/token")?;
        let clusters = format!("/api/v1/orgs/{}/clusters", text(&login, "/user/org_ids/0")?);
        let list = self.api().await?.call("GET", &clusters, None).await?.payload;
        self.cluster = text(&list, "/list/0/id")?;
        Ok(())
    }

    /// A connection to the management API.
    pub async fn api(&self) -> Outcome<Api> {
        Ok(Api { connection: Connection::open(self.address).await?, token: self.token.clone() })
    }

    /// Where gateways connect to.
    pub fn gateways(&self) -> &str {
        self.process.address("dp")
    }

    /// Creates an application at [`HOST`] without a prefix and answers its id.
    pub async fn application(&self, name: &str, port: u16) -> Outcome<String> {
        let target = json!({ "host": "127.0.0.1", "port": port, "weight": 1 });
        let upstream = json!({ "scheme": "http", "targets": [target] });
        let application = json!({
            "name": name, "hosts": [HOST], "path_prefix": "/",
            "upstreams": [{ "version": "default", "upstream": upstream }],
        });
        let path = format!("/api/v1/clusters/{}/apps", self.cluster);
        let answer = self.api().await?.call("POST", &path, Some(&application)).await?;
        text(&answer.payload, "/id")
    }
}

async fn start(binary: &str, options: &Options, folder: &TempDir) -> Process {
    let data = folder.path().join("data").display().to_string();
    let mut arguments = vec!["--log", "warn", "server", "--data", &data];
    arguments.extend(["--listen-api", "127.0.0.1:0", "--listen-dp", "127.0.0.1:0"]);
    arguments.extend(["--listen-metrics", "127.0.0.1:0"]);
    if let Some(url) = &options.database {
        arguments.extend(["--database", url]);
    }
    let owner = [("GANTRY_ADMIN_EMAIL", EMAIL), ("GANTRY_ADMIN_PASSWORD", PASSWORD)];
    Process::start_with(binary, &arguments, &owner, folder.path()).await
}

/// A text in an answer.
pub fn text(value: &Value, pointer: &str) -> Outcome<String> {
    let found = value.pointer(pointer).and_then(Value::as_str);
    Ok(found.ok_or_else(|| format!("no {pointer} in {value}"))?.to_owned())
}

/// One connection to the management API.
pub struct Api {
    connection: Connection,
    token: String,
}

/// What the API answered.
pub struct Answered {
    pub payload: Value,
    /// Revision of the cluster's configuration after a write.
    pub revision: Option<i64>,
    /// What gateways said to a write that waited for them.
    pub delivery: Value,
}

impl Api {
    /// Calls an operation; any status but 200 is an error.
    pub async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Outcome<Answered> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n");
        if !self.token.is_empty() {
            request.push_str(&format!("Authorization: Bearer {}\r\n", self.token));
        }
        if !body.is_empty() {
            let length = body.len();
            request.push_str(&format!(
                "Content-Type: application/json\r\nContent-Length: {length}\r\n"
            ));
        }
        request.push_str("\r\n");
        request.push_str(&body);
        let answer = self.connection.exchange(request.as_bytes()).await?;
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body()).into_owned();
            return Err(format!("{method} {path} answered {}: {said}", answer.status).into());
        }
        let mut envelope: Value = serde_json::from_slice(&answer.body())?;
        let revision = answer.header("gantry-revision").and_then(|text| text.parse().ok());
        let [payload, delivery] = ["payload", "delivery"].map(|field| envelope[field].take());
        Ok(Answered { payload, revision, delivery })
    }
}
