//! Those who take part: a backend, other proxies, and Gantry's gateway behind a real etcd.

mod engine;
mod etcd;
mod gantry;
mod haproxy;
mod nginx;
mod origin;

pub use engine::{Engine, WORD as ENGINE, serve as serve_engine};
pub use etcd::Etcd;
pub use gantry::{Gateway, configure};
pub use haproxy::Haproxy;
pub use nginx::Nginx;
pub use origin::Origin;

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};

use crate::Outcome;

/// What a proxy is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    pub workers: usize,
    pub routes: u32,
    pub plugins: Plugins,
    /// Who may ask where there is authentication.
    pub consumers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plugins {
    None,
    /// Authentication by key and a rate limit that is never reached.
    Guarded,
    /// These, and three that look at addresses and change headers.
    Five,
    /// Counters for each route.
    Counted,
}

impl Plugins {
    /// Whether requests must carry a key.
    pub fn authenticate(self) -> bool {
        matches!(self, Self::Guarded | Self::Five)
    }
}

/// A program in a child process; asked to stop when dropped.
struct Program(Child);

impl Program {
    fn start(command: &mut Command, package: &str) -> Outcome<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let program = command.get_program().to_string_lossy().into_owned();
        let child =
            command.spawn().map_err(|why| format!("{program} (apt install {package}): {why}"))?;
        Ok(Self(child))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // SIGTERM, so that a master takes its workers along.
        let pid = self.0.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.0.wait();
    }
}

/// An address nobody listens on, for programs that cannot choose one themselves.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
