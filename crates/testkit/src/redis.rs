//! A Redis of Debian's, in memory only, and a sentinel that watches it.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
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
        let mut command = Command::new("redis-server");
        command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(folder).args(arguments);
        Self::wait_for(address, command).await
    }

    /// Starts a copy of this server.
    pub async fn replica(&self, folder: &Path, arguments: &[&str]) -> Self {
        let port = self.address.port().to_string();
        let all = [&["--replicaof", "127.0.0.1", &port], arguments].concat();
        Self::start(folder, &all).await
    }

    /// Starts a sentinel that watches a master under the name `m` and decides alone that it is
    /// gone. Further settings as lines of its file.
    pub async fn sentinel(master: SocketAddr, folder: &Path, settings: &[&str]) -> Self {
        let address = free_port();
        let file = folder.join(format!("sentinel-{}.conf", address.port()));
        let lines = [
            format!("port {}", address.port()),
            "bind 127.0.0.1".to_owned(),
            format!("dir {}", folder.display()),
            format!("sentinel monitor m 127.0.0.1 {} 1", master.port()),
            "sentinel down-after-milliseconds m 200".to_owned(),
            "sentinel failover-timeout m 1000".to_owned(),
            settings.join("\n"),
        ];
        std::fs::write(&file, lines.join("\n")).expect("a folder to write to");
        let mut command = Command::new("redis-server");
        command.arg(&file).arg("--sentinel");
        Self::wait_for(address, command).await
    }

    /// Asks `redis-cli` until it prints what is wanted; what that was.
    pub async fn until(&self, arguments: &[&str], is_wanted: impl Fn(&str) -> bool) -> String {
        for _ in 0..TRIES {
            let said = self.cli(arguments);
            if is_wanted(&said) {
                return said;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{arguments:?} still says: {}", self.cli(arguments));
    }

    async fn wait_for(address: SocketAddr, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut redis =
            Self { address, child: command.spawn().expect("redis-server is installed") };
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

/// An address that nobody listens on. The system gives ports from 32768 on to whoever asks for any;
/// this one is below, so that nobody gets it before it is used, and so is the one 10,000 above, where
/// nodes of a cluster talk.
#[must_use]
pub fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const RANGE: std::ops::Range<u16> = 12_000..22_000;
    // Processes begin at different places.
    let first = u16::try_from(std::process::id() * 97 % 10_000).unwrap_or(0);
    for _ in RANGE {
        let offset = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if let Ok(socket) = TcpListener::bind(("127.0.0.1", RANGE.start + offset)) {
            return socket.local_addr().expect("a bound address");
        }
    }
    panic!("no port is free");
}
