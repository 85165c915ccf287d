//! client-control: how large a request body may be.

use std::sync::Arc;

use http::{StatusCode, header::CONTENT_LENGTH};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "client-control", compile: ClientControl::compile, identify: None };

/// The most bytes the body of this request may have, left in [`Exchange::notes`] for requests
/// that do not say their length: the proxy counts while it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit(pub u64);

#[derive(Deserialize)]
struct Config {
    max_body_size: Option<u64>,
}

struct ClientControl {
    /// None is unlimited.
    limit: Option<u64>,
}

impl ClientControl {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { max_body_size } = config::read(value)?;
        Ok(Arc::new(Self { limit: max_body_size.filter(|size| *size > 0) }))
    }
}

impl Plugin for ClientControl {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let Some(limit) = self.limit else { return Flow::Next };
        let length = request.headers.get(CONTENT_LENGTH);
        match length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok()) {
            Some(length) if length > limit => Answer::page(StatusCode::PAYLOAD_TOO_LARGE).into(),
            Some(_) => Flow::Next,
            None => {
                exchange.notes.insert(BodyLimit(limit));
                Flow::Next
            }
        }
    }
}
