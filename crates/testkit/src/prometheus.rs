//! A Prometheus of Debian's that takes what it is sent.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::client;
use crate::redis::free_port;

/// Longer than a start takes, also on a busy machine.
const TRIES: usize = 3000;

/// A running `prometheus`; killed when dropped.
pub struct Prometheus {
    pub address: SocketAddr,
    child: Child,
}

impl Prometheus {
    /// Starts a server that scrapes nobody, its files in `folder`.
    pub async fn start(folder: &Path) -> Self {
        Self::start_at(free_port(), folder).await
    }

    /// Starts a server at an address.
    pub async fn start_at(address: SocketAddr, folder: &Path) -> Self {
        let config = folder.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n").expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--web.enable-remote-write-receiver")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus is installed");
        let mut prometheus = Self { address, child };
        let ready = prometheus.url("/-/ready");
        for _ in 0..TRIES {
            let answer = client().get(&ready).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return prometheus;
            }
            let ended = prometheus.child.try_wait().expect("a child to ask");
            assert!(ended.is_none(), "prometheus ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("prometheus does not answer on {address}");
    }

    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
