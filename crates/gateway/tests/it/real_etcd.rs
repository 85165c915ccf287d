//! Debian's etcd as the source.

use std::process::{Child, Command, Stdio};

use gantry_testkit::Origin;
use tokio::net::TcpListener;

use crate::harness::{Gateway, local, route};

/// A running etcd; ended when dropped.
struct RealEtcd(Child);

impl Drop for RealEtcd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn free_port() -> u16 {
    TcpListener::bind(local()).await.unwrap().local_addr().unwrap().port()
}

fn etcdctl(endpoint: &str, arguments: &[&str]) {
    let output = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint, "--dial-timeout", "20s"])
        .args(arguments)
        .output()
        .expect("etcdctl of Debian's etcd-client is installed");
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn a_real_etcd_is_read_and_followed() {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = format!("http://127.0.0.1:{}", free_port().await);
    let peers = format!("http://127.0.0.1:{}", free_port().await);
    let etcd = Command::new("etcd")
        .args(["--data-dir", directory.path().join("etcd").to_str().unwrap()])
        .args(["--listen-client-urls", &endpoint, "--advertise-client-urls", &endpoint])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("etcd of Debian's etcd-server is installed");
    let _etcd = RealEtcd(etcd);
    let origin = Origin::start("one").await;
    let put = |key: &str, value: &str| etcdctl(&endpoint, &["put", key, value]);
    put("/apisix/routes/", "init_dir");
    put("/apisix/routes/1", &route("/a", origin.address).to_string());
    put("/apisixother/routes/2", &route("/c", origin.address).to_string());
    let gateway = Gateway::start(&endpoint, directory.path());
    gateway.applied(4).await;
    assert_eq!(gateway.fetch("/a").await.0, 200);
    assert_eq!(gateway.fetch("/c").await.0, 404);
    put("/apisix/routes/1", &route("/b", origin.address).to_string());
    gateway.applied(5).await;
    assert_eq!(gateway.fetch("/b").await.0, 200);
    etcdctl(&endpoint, &["del", "/apisix/routes/1"]);
    gateway.applied(6).await;
    assert_eq!(gateway.fetch("/b").await.0, 404);
}
