//! One probe: a connection to a node, and for HTTP a request of which only the status counts.

use std::{
    net::{Ipv6Addr, SocketAddr},
    sync::LazyLock,
};

use pingora::{connectors::TransportConnector, protocols::Stream, upstreams::peer::HttpPeer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Report, Resolver,
    checks::{Active, ProbeRequest},
};
use crate::request::server_name;

/// Connections of probes are never kept. Its certificates are read when the first probe is sent.
static CONNECTOR: LazyLock<TransportConnector> = LazyLock::new(|| TransportConnector::new(None));

/// No status line is longer.
const STATUS_BYTES_MAX: usize = 1024;

/// Asks a node how it is; None if its answer says nothing.
pub async fn probe(checks: &Active, host: &str, port: u16, resolver: &Resolver) -> Option<Report> {
    match tokio::time::timeout(checks.timeout, ask(checks, host, port, resolver)).await {
        Err(_) => Some(Report::Timeout),
        Ok(Err(Unreachable)) => Some(Report::TcpFailure),
        Ok(Ok(None)) => Some(Report::Success),
        Ok(Ok(Some(status))) => checks.thresholds.judge(status),
    }
}

/// Why a probe brought no answer does not matter.
struct Unreachable;

impl<E: std::error::Error> From<E> for Unreachable {
    fn from(_: E) -> Self {
        Self
    }
}

/// The status of the answer; None if there was nothing to ask.
async fn ask(
    checks: &Active,
    host: &str,
    port: u16,
    resolver: &Resolver,
) -> Result<Option<u16>, Unreachable> {
    let ip = match host.parse() {
        Ok(ip) => ip,
        Err(_) => resolver.resolve(host).await.ok_or(Unreachable)?,
    };
    let address = SocketAddr::new(ip, checks.port.unwrap_or(port));
    let Some(request) = &checks.request else {
        tokio::net::TcpStream::connect(address).await?;
        return Ok(None);
    };
    let name = request.host.as_deref().map_or(host, server_name);
    let mut peer = HttpPeer::new(address, request.tls, name.to_owned());
    peer.options.verify_cert = request.verify;
    peer.options.verify_hostname = request.verify;
    let mut stream = CONNECTOR.new_stream(&peer).await.map_err(|_| Unreachable)?;
    stream.write_all(request.text(host).as_bytes()).await?;
    stream.flush().await?;
    status(&mut stream).await.map(Some)
}

impl ProbeRequest {
    /// The request to this node as it goes over the wire.
    fn text(&self, node: &str) -> String {
        let Self { method, path, headers, body, .. } = self;
        let host = match self.host.as_deref().unwrap_or(node) {
            bare if bare.parse::<Ipv6Addr>().is_ok() => format!("[{bare}]"),
            host => host.to_owned(),
        };
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        format!(
            "{method} {path} HTTP/1.1\r\nConnection: close\r\n{headers}Host: {host}\r\n{length}\r\n{body}"
        )
    }
}

/// Reads the status line.
async fn status(stream: &mut Stream) -> Result<u16, Unreachable> {
    let mut bytes = Vec::with_capacity(256);
    while !bytes.contains(&b'\n') {
        if bytes.len() > STATUS_BYTES_MAX || stream.read_buf(&mut bytes).await? == 0 {
            return Err(Unreachable);
        }
    }
    let line = String::from_utf8_lossy(&bytes);
    let mut words = line.split_ascii_whitespace();
    let protocol = words.next().filter(|word| word.starts_with("HTTP/1."));
    let status = words.next().and_then(|word| word.parse().ok());
    protocol.and(status).ok_or(Unreachable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_sent_as_configured_and_that_of_a_node_as_an_authority() {
        for (configured, node, expected) in [
            (None, "::1", "[::1]"),
            (None, "a.com", "a.com"),
            (Some("a.com:8443"), "::1", "a.com:8443"),
            (Some("[::1]:80"), "a.com", "[::1]:80"),
        ] {
            let request = ProbeRequest {
                tls: false,
                verify: false,
                host: configured.map(str::to_owned),
                method: "GET".to_owned(),
                path: "/".to_owned(),
                headers: String::new(),
                body: String::new(),
            };
            let text = request.text(node);
            assert!(text.contains(&format!("\r\nHost: {expected}\r\n")), "{text}");
        }
    }
}
