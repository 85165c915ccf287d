//! Debian's haproxy, for bare proxying only.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::{Origin, Program, Work, free_address};
use crate::Outcome;

/// A running haproxy in a folder of its own; stopped when dropped.
pub struct Haproxy {
    program: Program,
    pub address: SocketAddr,
    _folder: TempDir,
}

impl Haproxy {
    pub fn start(origin: &Origin, work: Work) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let file = folder.path().join("haproxy.cfg");
        std::fs::write(&file, configuration(address, origin.address, work.workers))?;
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Ok(Self { program: Program::start(&mut command, "haproxy")?, address, _folder: folder })
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// Connections to the backend kept open and shared, the headers that Gantry adds, no log.
fn configuration(address: SocketAddr, origin: SocketAddr, workers: usize) -> String {
    format!(
        "global\n nbthread {workers}\n maxconn 4096\n\
         defaults\n mode http\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n\
         \x20http-reuse always\n option forwardfor\n\
         frontend all\n bind {address}\n default_backend origin\n\
         backend origin\n http-request set-header X-Real-IP %[src]\n server one {origin}\n"
    )
}
