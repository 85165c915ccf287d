//! Gantry's gateway, configured through etcd as any gateway of its kind.

use std::net::SocketAddr;

use gantry_testkit::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Etcd, KEY, Origin, Work};
use crate::Outcome;
use crate::load::path;

/// A running gateway in a folder of its own; killed when dropped.
pub struct Gateway {
    process: Process,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Gateway {
    pub async fn start(binary: &str, etcd: &Etcd, work: Work) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let data = folder.path().join("data").display().to_string();
        let (threads, prefix) = (work.workers.to_string(), prefix(work));
        let mut arguments =
            vec!["--log", "warn", "gateway", "--data", &data, "--threads", &threads];
        arguments.extend(["--etcd", &etcd.endpoint, "--prefix", &prefix]);
        for listener in ["--listen-http", "--listen-https", "--listen-status"] {
            arguments.extend([listener, "127.0.0.1:0"]);
        }
        let process = Process::start(binary, &arguments, folder.path()).await;
        let address = process.address("http").trim_start_matches("http://").parse()?;
        Ok(Self { process, address, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn prefix(work: Work) -> String {
    let plugins = if work.plugins { "guarded" } else { "open" };
    format!("/bench-{plugins}-{}", work.routes)
}

/// Writes what gateways need for some work: one upstream, one service with or without plugins, one
/// consumer and the routes.
pub async fn configure(etcd: &Etcd, origin: &Origin, work: Work) -> Outcome {
    let prefix = prefix(work);
    let nodes = json!([{ "host": "127.0.0.1", "port": origin.address.port(), "weight": 1 }]);
    let limit = json!({
        "count": 1_000_000_000, "time_window": 3600, "key_type": "var", "key": "remote_addr",
        "policy": "local", "show_limit_quota_header": false
    });
    let plugins =
        if work.plugins { json!({ "key-auth": {}, "limit-count": limit }) } else { json!({}) };
    let mut documents: Vec<(String, Value)> = vec![
        (
            format!("{prefix}/upstreams/1"),
            json!({ "id": "1", "type": "roundrobin", "nodes": nodes }),
        ),
        (
            format!("{prefix}/services/1"),
            json!({ "id": "1", "upstream_id": "1", "plugins": plugins }),
        ),
        (
            format!("{prefix}/consumers/bench"),
            json!({ "username": "bench", "plugins": { "key-auth": { "key": KEY } } }),
        ),
    ];
    documents.extend((0..work.routes).map(|route| {
        let id = route + 1;
        let document = json!({ "id": id.to_string(), "uri": path(route), "service_id": "1" });
        (format!("{prefix}/routes/{id}"), document)
    }));
    etcd.put(&documents).await
}
