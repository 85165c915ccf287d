//! client-control: how large a request body may be.

use std::sync::Arc;

use http::StatusCode;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange, request};

pub(super) const KIND: Kind =
    Kind { name: "client-control", compile: ClientControl::compile, identify: None };

/// The most bytes the body of this request may have, left in [`Exchange::notes`]: the gateway's own
/// limit, or in its place the plugin's. Whoever reads the body keeps to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

#[derive(Deserialize)]
struct Config {
    max_body_size: Option<u64>,
}

struct ClientControl {
    /// Zero is unlimited; None leaves it to the gateway.
    limit: Option<u64>,
}

impl ClientControl {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { max_body_size } = config::read(value)?;
        Ok(Arc::new(Self { limit: max_body_size }))
    }
}

impl Plugin for ClientControl {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        match self.limit {
            None => {}
            Some(0) => {
                exchange.notes.remove::<BodyLimit>();
            }
            Some(limit) => {
                exchange.notes.insert(BodyLimit(limit));
                // A route may have looked at the body already.
                let read = exchange.body.as_ref().map(|body| body.len() as u64);
                let length = read.or_else(|| request::length(&request.headers));
                if length.is_some_and(|length| length > limit) {
                    return Answer::page(StatusCode::PAYLOAD_TOO_LARGE).into();
                }
            }
        }
        Flow::Next
    }
}
