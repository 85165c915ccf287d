//! The engine's limit: the least proxy one can write on Pingora, without routes or plugins.

use std::net::SocketAddr;
use std::process::Command;

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, Opt, Server, http_proxy_service};
use pingora::proxy::{ProxyHttp, Session};
use pingora::server::configuration::ServerConf;

use super::{Origin, Program, Work, free_address};
use crate::Outcome;

/// Word on the command line that makes this program the proxy; address, origin and threads follow.
pub const WORD: &str = "serve-engine";

/// A running proxy; stopped when dropped.
pub struct Engine {
    program: Program,
    pub address: SocketAddr,
}

impl Engine {
    pub fn start(origin: &Origin, work: Work) -> Outcome<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        let place = [address.to_string(), origin.address.to_string()];
        command.arg(WORD).args(place).arg(work.workers.to_string());
        Ok(Self { program: Program::start(&mut command, "nothing")?, address })
    }

    pub fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// Runs the proxy until the process is ended. `arguments` are what follows [`WORD`].
pub fn serve(arguments: &[String]) -> Outcome {
    let [address, origin, workers] = arguments else {
        return Err(format!("{WORD} wants an address, an origin and a number of threads").into());
    };
    let conf = ServerConf { threads: workers.parse()?, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(Opt::default(), conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare(origin.parse()?));
    service.add_tcp(address);
    server.add_service(service);
    server.run_forever()
}

struct Bare(SocketAddr);

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = ();

    fn new_ctx(&self) {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _ctx: &mut (),
    ) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}
