//! gzip: compresses responses for clients that accept it. The buffers of nginx (`buffers`) have no
//! counterpart: every piece goes on as soon as it is compressed.

use std::{io, sync::Arc};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Kind, Place, Plugin,
    compress::{Encoder, Rules, Types, version},
    config,
};
use crate::exchange::Exchange;

pub(super) const KIND: Kind = Kind { name: "gzip", compile: Gzip::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    types: Types,
    min_length: u64,
    comp_level: u32,
    http_version: f64,
    #[serde(default)]
    vary: bool,
}

struct Gzip {
    rules: Rules,
    level: Compression,
}

impl Gzip {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        Ok(Arc::new(Self {
            level: Compression::new(config.comp_level.min(9)),
            rules: Rules {
                coding: "gzip",
                types: config.types.compile(),
                length_min: config.min_length,
                version: version(config.http_version),
                vary: config.vary,
            },
        }))
    }
}

impl Plugin for Gzip {
    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        let encoder = || Box::new(GzEncoder::new(Vec::new(), self.level)) as Box<dyn Encoder>;
        self.rules.begin(exchange, request, response, encoder);
    }

    fn is_last(&self) -> bool {
        true
    }

    fn reads_bodies(&self) -> bool {
        true
    }

    fn response_body(&self, exchange: &mut Exchange, piece: &mut Option<Bytes>, end: bool) {
        self.rules.continues(exchange, piece, end);
    }
}

impl Encoder for GzEncoder<Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }

    fn finish(&mut self) -> io::Result<()> {
        self.try_finish()
    }
}
