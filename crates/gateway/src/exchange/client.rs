//! The address of a client, as a number for rules and as text for keys, headers and logs.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
};

/// Where a request comes from. The text is made once, when it is first asked for.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    text: OnceLock<Box<str>>,
}

impl Client {
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, text: OnceLock::new() }
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address without port; IPv4 mapped into IPv6 reads as IPv4.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.get_or_init(|| self.ip().to_canonical().to_string().into())
    }
}
