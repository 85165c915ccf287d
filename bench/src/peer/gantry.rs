//! Gantry's gateway, configured through etcd as any gateway of its kind.

use std::net::SocketAddr;

use gantry_testkit::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Etcd, Origin, Plugins, Work, free_address};
use crate::Outcome;
use crate::load::{key, path};

/// A running gateway in a folder of its own; killed when dropped.
pub struct Gateway {
    process: Process,
    pub address: SocketAddr,
    /// Where status and metrics are.
    pub status: SocketAddr,
    folder: TempDir,
}

impl Gateway {
    pub async fn start(binary: &str, etcd: &Etcd, work: Work) -> Outcome<Self> {
        Self::start_in(tempfile::tempdir()?, binary, &etcd.endpoint, work).await
    }

    /// Stops the gateway and starts it again with what its disk has: nobody answers as its etcd.
    pub async fn restart_alone(self, binary: &str, work: Work) -> Outcome<Self> {
        self.process.stop().await;
        let nobody = format!("http://{}", free_address()?);
        Self::start_in(self.folder, binary, &nobody, work).await
    }

    async fn start_in(folder: TempDir, binary: &str, etcd: &str, work: Work) -> Outcome<Self> {
        let data = folder.path().join("data").display().to_string();
        let (threads, prefix) = (work.workers.to_string(), prefix(work));
        let mut arguments =
            vec!["--log", "warn", "gateway", "--data", &data, "--threads", &threads];
        arguments.extend(["--etcd", etcd, "--prefix", &prefix]);
        for listener in ["--listen-http", "--listen-https", "--listen-status"] {
            arguments.extend([listener, "127.0.0.1:0"]);
        }
        let process = Process::start(binary, &arguments, folder.path()).await;
        let address = |name| process.address(name).trim_start_matches("http://").parse();
        let (http, status) = (address("http")?, address("status")?);
        Ok(Self { process, address: http, status, folder })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn prefix(work: Work) -> String {
    format!("/bench-{:?}-{}-{}", work.plugins, work.routes, work.consumers)
}

fn plugins(plugins: Plugins) -> Value {
    let limit = json!({
        "count": 1_000_000_000, "time_window": 3600, "key_type": "var", "key": "remote_addr",
        "policy": "local", "show_limit_quota_header": false
    });
    match plugins {
        Plugins::None => json!({}),
        Plugins::Guarded => json!({ "key-auth": {}, "limit-count": limit }),
        Plugins::Five => json!({
            "key-auth": {}, "limit-count": limit, "ip-restriction": { "whitelist": ["127.0.0.0/8"] },
            "request-id": {}, "response-rewrite": { "headers": { "set": { "X-Bench": "five" } } },
        }),
        Plugins::Counted => json!({ "prometheus": {} }),
    }
}

/// Writes what gateways need for some work: one upstream, one service with or without plugins, the
/// consumers and the routes.
pub async fn configure(etcd: &Etcd, origin: &Origin, work: Work) -> Outcome {
    let prefix = prefix(work);
    let nodes = json!([{ "host": "127.0.0.1", "port": origin.address.port(), "weight": 1 }]);
    let plugins = plugins(work.plugins);
    let mut documents: Vec<(String, Value)> = vec![
        (
            format!("{prefix}/upstreams/1"),
            json!({ "id": "1", "type": "roundrobin", "nodes": nodes }),
        ),
        (
            format!("{prefix}/services/1"),
            json!({ "id": "1", "upstream_id": "1", "plugins": plugins }),
        ),
    ];
    documents.extend((0..work.consumers).map(|number| {
        let name = format!("bench{number}");
        let plugins = json!({ "key-auth": { "key": key(number) } });
        (format!("{prefix}/consumers/{name}"), json!({ "username": name, "plugins": plugins }))
    }));
    documents.extend((0..work.routes).map(|route| {
        let id = route + 1;
        let document = json!({ "id": id.to_string(), "uri": path(route), "service_id": "1" });
        (format!("{prefix}/routes/{id}"), document)
    }));
    etcd.put(&documents).await
}
