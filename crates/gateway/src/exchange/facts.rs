//! A request read through the names of nginx's and APISIX's variables.

use pingora::http::{RequestHeader, ResponseHeader};

use super::Exchange;

/// An exchange and its messages, as variables see them.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub exchange: &'a Exchange,
    pub request: &'a RequestHeader,
    /// The response head as sent; None before there is one.
    pub response: Option<&'a ResponseHeader>,
}
