//! The real `etcdctl` (Debian's etcd-client) reads and watches.

use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::support::{Gateways, PATIENCE, TestCluster};

/// `etcdctl` with the certificate of a cluster, in files it can read.
struct Etcdctl {
    files: TempDir,
    endpoint: String,
}

impl Etcdctl {
    fn new(gateways: &Gateways, cluster: &TestCluster) -> Self {
        let files = TempDir::new().expect("a folder");
        for (name, text) in [
            ("ca.crt", &gateways.ca),
            ("tls.crt", &cluster.bundle.certificate),
            ("tls.key", &cluster.bundle.key),
        ] {
            std::fs::write(files.path().join(name), text).expect("a file");
        }
        Self { files, endpoint: format!("https://localhost:{}", gateways.address.port()) }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("etcdctl");
        command.current_dir(self.files.path()).env("ETCDCTL_API", "3").kill_on_drop(true);
        command.args(["--endpoints", &self.endpoint, "--cacert", "ca.crt"]);
        command.args(["--cert", "tls.crt", "--key", "tls.key"]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, arguments: &[&str]) -> String {
        let output = tokio::time::timeout(PATIENCE, self.command(arguments).output());
        let output = output.await.expect("etcdctl ends").expect("etcdctl of Debian's etcd-client");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "etcdctl {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[tokio::test]
async fn it_reads_the_keys_and_the_status() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    cluster.add("ann").await;
    let ann = cluster.value("/apisix/consumers/ann").await;
    let etcdctl = Etcdctl::new(&gateways, &cluster);

    let read = etcdctl.run(&["get", "--prefix", "/apisix/consumers"]).await;
    assert_eq!(read, format!("/apisix/consumers/\ninit_dir\n/apisix/consumers/ann\n{ann}\n"));
    let all = etcdctl.run(&["get", "", "--prefix", "--keys-only"]).await;
    assert_eq!(all.lines().filter(|line| !line.is_empty()).count(), 15);
    let status = etcdctl.run(&["endpoint", "status"]).await;
    assert!(status.contains("3.5.0"), "{status}");
    let members = etcdctl.run(&["member", "list"]).await;
    assert!(members.contains("gantry"), "{members}");
}

#[tokio::test]
async fn it_watches_from_a_revision() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let first = cluster.add("ann").await;
    let etcdctl = Etcdctl::new(&gateways, &cluster);
    let from = format!("--rev={first}");
    let mut watching = etcdctl
        .command(&["watch", "--prefix", "/apisix/", &from])
        .spawn()
        .expect("etcdctl of Debian's etcd-client");
    let mut lines = BufReader::new(watching.stdout.take().expect("its output")).lines();
    let mut expect = async |texts: &[&str]| {
        for text in texts {
            let line = tokio::time::timeout(PATIENCE, lines.next_line());
            let line = line.await.expect("in time").expect("text");
            assert_eq!(line.as_deref(), Some(*text));
        }
    };
    expect(&["PUT", "/apisix/consumers/ann", &cluster.value("/apisix/consumers/ann").await]).await;
    cluster.change("ann", 2).await;
    expect(&["PUT", "/apisix/consumers/ann", &cluster.value("/apisix/consumers/ann").await]).await;
    cluster.remove("ann").await;
    expect(&["DELETE", "/apisix/consumers/ann", ""]).await;
    watching.kill().await.expect("it runs");
}
