//! brotli: compresses responses for clients that accept it. Runs before gzip, which leaves alone
//! what is compressed.

use std::{io, io::Write, sync::Arc};

use ::brotli::{
    CompressorWriter,
    enc::{BrotliEncoderParams, backward_references::BrotliEncoderMode},
};
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Kind, Place, Plugin,
    compress::{Encoder, Rules, Types, version},
    config,
};
use crate::exchange::Exchange;

pub(super) const KIND: Kind = Kind { name: "brotli", compile: Brotli::compile, identify: None };

/// Bytes that a compressor hands on at a time.
const BUFFER: usize = 4096;

#[derive(Deserialize)]
struct Config {
    types: Types,
    min_length: u64,
    comp_level: i32,
    http_version: f64,
    #[serde(default)]
    vary: bool,
    mode: u8,
    lgwin: i32,
    lgblock: i32,
}

struct Brotli {
    rules: Rules,
    parameters: BrotliEncoderParams,
}

impl Brotli {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let mode = match config.mode {
            1 => BrotliEncoderMode::BROTLI_MODE_TEXT,
            2 => BrotliEncoderMode::BROTLI_MODE_FONT,
            _ => BrotliEncoderMode::BROTLI_MODE_GENERIC,
        };
        let default = BrotliEncoderParams::default();
        Ok(Arc::new(Self {
            parameters: BrotliEncoderParams {
                mode,
                quality: config.comp_level,
                // Zero leaves it to the compressor.
                lgwin: if config.lgwin == 0 { default.lgwin } else { config.lgwin },
                lgblock: config.lgblock,
                ..default
            },
            rules: Rules {
                coding: "br",
                types: config.types.compile(),
                length_min: config.min_length,
                version: version(config.http_version),
                vary: config.vary,
            },
        }))
    }
}

impl Plugin for Brotli {
    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        self.rules.begin(exchange, request, response, || {
            Box::new(Compressor {
                inner: Some(CompressorWriter::with_params(Vec::new(), BUFFER, &self.parameters)),
                rest: Vec::new(),
            })
        });
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

/// The library's compressor ends a stream by giving away what it wrote to.
struct Compressor {
    inner: Option<CompressorWriter<Vec<u8>>>,
    rest: Vec<u8>,
}

impl Write for Compressor {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.inner.as_mut().map_or(Ok(plain.len()), |inner| inner.write(plain))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Encoder for Compressor {
    fn take(&mut self) -> Vec<u8> {
        match &mut self.inner {
            Some(inner) => std::mem::take(inner.get_mut()),
            None => std::mem::take(&mut self.rest),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        if let Some(inner) = self.inner.take() {
            self.rest = inner.into_inner();
        }
        Ok(())
    }
}
