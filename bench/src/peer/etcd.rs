//! Debian's etcd, by its JSON gateway.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gantry_testkit::client;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::free_address;
use crate::Outcome;

/// Puts of one transaction.
const BATCH: usize = 1000;

/// A running etcd in a folder of its own; killed when dropped.
pub struct Etcd {
    child: Child,
    pub endpoint: String,
    _folder: TempDir,
}

impl Etcd {
    pub async fn start() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let endpoint = format!("http://{}", free_address()?);
        let peer = format!("http://{}", free_address()?);
        let child = Command::new("etcd")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .args(["--max-txn-ops", &BATCH.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| format!("etcd (apt install etcd-server): {why}"))?;
        let etcd = Self { child, endpoint, _folder: folder };
        for _ in 0..300 {
            let health = client().get(format!("{}/health", etcd.endpoint)).send().await;
            if health.is_ok_and(|answer| answer.status() == 200) {
                return Ok(etcd);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err("etcd did not get healthy within 30 seconds".into())
    }

    /// Writes documents, many in one transaction.
    pub async fn put(&self, documents: &[(String, Value)]) -> Outcome {
        let client = client();
        let url = format!("{}/v3/kv/txn", self.endpoint);
        for batch in documents.chunks(BATCH) {
            let puts: Vec<Value> = batch.iter().map(|(key, value)| put(key, value)).collect();
            let body = json!({ "success": puts });
            client.post(&url).json(&body).send().await?.error_for_status()?;
        }
        Ok(())
    }
}

fn put(key: &str, value: &Value) -> Value {
    let encode = |text: &str| BASE64_STANDARD.encode(text);
    json!({ "requestPut": { "key": encode(key), "value": encode(&value.to_string()) } })
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
