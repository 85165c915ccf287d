//! real-ip: takes the client's address from the request when the peer is trusted.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use gantry_routing::vars::Vars;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config, networks::Networks};
use crate::exchange::{Client, Exchange};

pub(super) const KIND: Kind = Kind { name: "real-ip", compile: RealIp::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    source: String,
    trusted_addresses: Option<Vec<String>>,
    recursive: bool,
}

struct RealIp {
    source: String,
    /// None trusts every peer.
    trusted: Option<Networks>,
    recursive: bool,
}

impl RealIp {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { source, trusted_addresses, recursive } = config::read(value)?;
        let trusted = trusted_addresses.map(|list| Networks::parse(&list)).transpose()?;
        Ok(Arc::new(Self { source, trusted, recursive }))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.as_ref().is_none_or(|trusted| trusted.contains(address))
    }

    fn client(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Option<(IpAddr, Option<u16>)> {
        if self.source == "http_x_forwarded_for" {
            let last = request.headers.get_all("x-forwarded-for").iter().next_back()?;
            return self.forwarded(last.to_str().ok()?);
        }
        address(&exchange.facts(request).var(&self.source)?.text()?)
    }

    /// The last address of the list; with `recursive` the last one that is not trusted.
    fn forwarded(&self, list: &str) -> Option<(IpAddr, Option<u16>)> {
        let mut found = None;
        for text in list.rsplit(',') {
            let Some(parsed) = address(text.trim()) else { break };
            found = Some(parsed);
            let trusted = self.trusted.as_ref().is_some_and(|trusted| trusted.contains(parsed.0));
            if !self.recursive || !trusted {
                break;
            }
        }
        found
    }
}

impl Plugin for RealIp {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if self.trusts(exchange.client.ip())
            && let Some((ip, port)) = self.client(exchange, request)
        {
            let port = port.unwrap_or_else(|| exchange.client.port());
            exchange.client = Client::new(SocketAddr::new(ip, port));
        }
        Flow::Next
    }
}

/// Reads `ip`, `ip:port`, `[v6]` or `[v6]:port`.
fn address(text: &str) -> Option<(IpAddr, Option<u16>)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some((address.ip(), Some(address.port())));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    Some((bare.parse().ok()?, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugin(recursive: bool) -> RealIp {
        let trusted = Some(Networks::parse(&["10.0.0.0/8", "127.0.0.1"]).unwrap());
        RealIp { source: "http_x_forwarded_for".to_owned(), trusted, recursive }
    }

    fn chosen(recursive: bool, list: &str) -> Option<String> {
        plugin(recursive).forwarded(list).map(|(ip, _)| ip.to_string())
    }

    #[test]
    fn the_last_forwarded_address_counts() {
        assert_eq!(chosen(false, "1.1.1.1, 2.2.2.2").as_deref(), Some("2.2.2.2"));
        assert_eq!(chosen(false, "1.1.1.1, nonsense"), None);
    }

    #[test]
    fn recursion_passes_over_trusted_addresses() {
        assert_eq!(chosen(true, "1.1.1.1, 2.2.2.2, 10.0.0.1").as_deref(), Some("2.2.2.2"));
        assert_eq!(chosen(true, "10.0.0.3, 10.0.0.1").as_deref(), Some("10.0.0.3"));
    }

    #[test]
    fn addresses_come_with_and_without_port() {
        let v6: IpAddr = "2001:db8::1".parse().unwrap();
        assert_eq!(address("[2001:db8::1]:80"), Some((v6, Some(80))));
        assert_eq!(address("[2001:db8::1]"), Some((v6, None)));
        assert_eq!(address("2001:db8::1"), Some((v6, None)));
        assert_eq!(address("1.2.3.4:5"), Some(("1.2.3.4".parse().unwrap(), Some(5))));
        assert_eq!(address("unix:"), None);
    }
}
