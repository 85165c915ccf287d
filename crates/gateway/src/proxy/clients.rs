//! What clients may do before anybody looks at what they want.

use http::StatusCode;
use pingora::{apps::HttpServerOptions, http::RequestHeader, proxy::Session};
use std::net::IpAddr;

use crate::{
    exchange::Exchange,
    head::Limits,
    options::ClientOptions,
    plugin::{BodyLimit, Networks},
    request,
};

/// The rules for clients, compiled.
pub struct Clients {
    options: ClientOptions,
    trusted: Option<Networks>,
}

/// Whether a peer may say who is behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// It is known and believed.
    Full,
    /// Nobody is known; its word is passed on but not believed.
    Unknown,
    /// Others are known.
    None,
}

impl Clients {
    pub fn compile(options: &ClientOptions) -> Result<Self, String> {
        let trusted = options.trusted_addresses.as_deref().map(Networks::parse).transpose()?;
        Ok(Self { options: options.clone(), trusted })
    }

    pub fn trust(&self, peer: IpAddr) -> Trust {
        match &self.trusted {
            None => Trust::Unknown,
            Some(networks) if networks.contains(peer) => Trust::Full,
            Some(_) => Trust::None,
        }
    }

    /// Whether connections begin with a header of the PROXY protocol.
    pub fn proxied(&self) -> bool {
        self.options.proxy_protocol
    }

    /// What is asked of the heads of requests.
    pub fn heads(&self) -> Limits {
        Limits { time: self.options.read_timeout, h2c: self.options.h2c }
    }

    /// The same rules as far as Pingora has to know them.
    pub fn server_options(&self) -> HttpServerOptions {
        let mut options = HttpServerOptions::default();
        options.h2c = self.options.h2c;
        options.h2_idle_timeout = Some(self.options.idle_timeout);
        options
    }

    /// Sets how long this client may keep us waiting.
    pub fn set_pace(&self, session: &mut Session) {
        let ClientOptions { read_timeout, send_timeout, idle_timeout, .. } = self.options;
        session.set_read_timeout(Some(read_timeout));
        session.set_write_timeout(Some(send_timeout));
        // A connection that ends after this request stays one that ends.
        if session.get_keepalive().is_some() {
            session.set_keepalive(Some(idle_timeout.as_secs().max(1)));
        }
    }

    /// The status that refuses a request which is too large, if it is.
    pub fn refuse(&self, request: &RequestHeader, exchange: &mut Exchange) -> Option<StatusCode> {
        let ClientOptions { target_bytes, header_bytes, body_bytes, .. } = self.options;
        if request::target(request).len() > target_bytes {
            return Some(StatusCode::URI_TOO_LONG);
        }
        // As on the wire: a colon, a space and the end of the line.
        let field = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            name.as_str().len() + value.len() + 4
        };
        if request.headers.iter().map(field).sum::<usize>() > header_bytes {
            return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
        }
        // Plugins may allow more, so nobody is refused for it yet.
        if let Some(limit) = body_bytes {
            exchange.notes.insert(BodyLimit(limit));
        }
        None
    }
}
