//! A Redis of Debian's, in memory only.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Longer than a start takes, also on a busy machine.
const TRIES: usize = 3000;

/// A running `redis-server`; killed when dropped.
pub struct Redis {
    pub address: SocketAddr,
    child: Child,
}

impl Redis {
    /// Starts a server with these further arguments, its files in `folder`.
    pub async fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_at(free_port(), folder, arguments).await
    }

    /// Starts a server at an address.
    pub async fn start_at(address: SocketAddr, folder: &Path, arguments: &[&str]) -> Self {
        let port = address.port().to_string();
        let child = Command::new("redis-server")
            .args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(folder)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let mut redis = Self { address, child };
        for _ in 0..TRIES {
            if TcpStream::connect(address).is_ok() {
                return redis;
            }
            let ended = redis.child.try_wait().expect("a child to ask");
            assert!(ended.is_none(), "redis-server ended: {ended:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("redis-server does not listen on {address}");
    }

    /// Runs `redis-cli` and answers what it prints.
    #[must_use]
    pub fn cli(&self, arguments: &[&str]) -> String {
        let port = self.address.port().to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(arguments).output();
        let output = output.expect("redis-cli is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on.
#[must_use]
pub fn free_port() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("a bound address")
}
