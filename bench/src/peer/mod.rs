//! Those who take part: a backend, nginx, and Gantry's gateway behind a real etcd.

mod etcd;
mod gantry;
mod nginx;
mod origin;

pub use etcd::Etcd;
pub use gantry::{Gateway, configure};
pub use nginx::Nginx;
pub use origin::Origin;

use std::net::{SocketAddr, TcpListener};

use crate::Outcome;

/// What a proxy is to do.
#[derive(Clone, Copy)]
pub struct Work {
    pub workers: usize,
    pub routes: u32,
    /// With authentication by key and a rate limit that is never reached.
    pub plugins: bool,
}

/// The key that is let through.
pub const KEY: &str = "a-key-of-the-benchmark";

/// An address nobody listens on, for programs that cannot choose one themselves.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
