//! The gateway on Debian's etcd, with resources written straight into it.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use gantry_testkit::{Origin, Process, client};
use serde_json::{Value, json};

use crate::harness::{BINARY, eventually};

/// A real etcd in a folder of its own; killed when dropped.
pub struct Etcd {
    child: Child,
    pub endpoint: String,
}

impl Etcd {
    pub fn start(folder: &Path) -> Self {
        let (clients, peers) = (free_port(), free_port());
        let endpoint = format!("http://127.0.0.1:{clients}");
        let peer = format!("http://127.0.0.1:{peers}");
        let data = folder.join("etcd").display().to_string();
        let child = Command::new("etcd")
            .args([
                "--data-dir",
                &data,
                "--listen-client-urls",
                &endpoint,
                "--advertise-client-urls",
                &endpoint,
            ])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("`etcd` of the package etcd-server");
        Self { child, endpoint }
    }

    pub async fn healthy(&self) {
        let url = format!("{}/health", self.endpoint);
        eventually("etcd is healthy", || async {
            client().get(&url).send().await.is_ok_and(|a| a.status() == 200)
        })
        .await;
    }

    pub fn put(&self, key: &str, value: &Value) {
        let status = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint, "put", key, &value.to_string()])
            .stdout(Stdio::null())
            .status()
            .expect("`etcdctl` of the package etcd-client");
        assert!(status.success(), "etcdctl put {key}");
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// A gateway that reads an etcd, with its data in a folder.
pub async fn gateway(etcd: &Etcd, folder: &Path) -> Process {
    let data = folder.join("gateway").display().to_string();
    let mut arguments = vec!["gateway", "--data", &data, "--threads", "1"];
    arguments.extend(["--etcd", &etcd.endpoint, "--prefix", "/apisix"]);
    for listener in ["--listen-http", "--listen-https", "--listen-status"] {
        arguments.extend([listener, "127.0.0.1:0"]);
    }
    Process::start(BINARY, &arguments, folder).await
}

#[tokio::test]
async fn a_bad_resource_in_etcd_is_isolated_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::start("backend").await;
    let etcd = Etcd::start(folder.path());
    etcd.healthy().await;
    let route = |uri: &str| json!({ "uri": uri, "upstream": { "type": "roundrobin", "nodes": { origin.address.to_string(): 1 } } });
    etcd.put("/apisix/routes/1", &route("/good"));
    etcd.put("/apisix/routes/2", &route("/later-bad"));

    let gateway = gateway(&etcd, folder.path()).await;
    let answer = async |path: &str| {
        client().get(format!("{}{path}", gateway.address("http"))).send().await.unwrap().status()
    };
    eventually("both routes are served", || async {
        answer("/good").await == 200 && answer("/later-bad").await == 200
    })
    .await;

    etcd.put(
        "/apisix/routes/2",
        &json!({ "uri": "/later-bad", "upstream": { "nodes": "nonsense" } }),
    );
    etcd.put(
        "/apisix/routes/3",
        &json!({ "uri": "/closed", "plugins": { "no-such-auth": {} }, "upstream_id": "1" }),
    );
    let status_url = format!("{}/status", gateway.address("status"));
    let status =
        async || client().get(&status_url).send().await.unwrap().json::<Value>().await.unwrap();
    eventually("two problems are reported", || async {
        status().await["problems"].as_array().is_some_and(|problems| problems.len() == 2)
    })
    .await;
    assert_eq!(answer("/good").await, 200, "the neighbour is served");
    assert_eq!(answer("/later-bad").await, 200, "the last good version stays in force");
    assert_eq!(answer("/closed").await, 503, "an unknown plugin closes its route");

    etcd.put("/apisix/routes/2", &route("/mended"));
    eventually("the mended route is served", || async { answer("/mended").await == 200 }).await;
    assert_eq!(status().await["problems"].as_array().map(Vec::len), Some(1));
    assert!(gateway.stop().await.success());
}
