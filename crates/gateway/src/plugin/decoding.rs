//! Takes the coding off a response's body, piece by piece, up to a number of bytes.

use std::io::{self, Write};

use brotli::DecompressorWriter;
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use http::{HeaderMap, header::CONTENT_ENCODING};

/// Bytes that brotli hands on at a time.
const BUFFER: usize = 4096;

/// A body on its way. What is more than it may have, or damaged, is cut.
pub struct Decoder {
    coding: Coding,
    /// Whether more is taken in.
    open: bool,
}

enum Coding {
    Identity(Bounded),
    Gzip(Box<MultiGzDecoder<Bounded>>),
    Brotli(Box<DecompressorWriter<Bounded>>),
}

/// Memory for so many bytes. A write beyond that fails, so that a small body that becomes a large one
/// costs no time either.
struct Bounded {
    bytes: Vec<u8>,
    max: usize,
}

impl Decoder {
    /// Names, as in `Accept-Encoding`, of what can be read here.
    pub const CODINGS: [&str; 4] = ["gzip", "x-gzip", "br", "identity"];

    /// For the body below these headers; None if its coding, or the second of several, is not known.
    pub fn of(headers: &HeaderMap, max: usize) -> Option<Self> {
        let bounded = Bounded { bytes: Vec::new(), max };
        let mut lines = headers.get_all(CONTENT_ENCODING).iter();
        let coding = match lines.next() {
            None => "identity".to_owned(),
            Some(line) => line.to_str().ok()?.trim().to_ascii_lowercase(),
        };
        let coding = match coding.as_str() {
            _ if lines.next().is_some() => return None,
            "" | "identity" => Coding::Identity(bounded),
            "gzip" | "x-gzip" => Coding::Gzip(Box::new(MultiGzDecoder::new(bounded))),
            "br" => Coding::Brotli(Box::new(DecompressorWriter::new(bounded, BUFFER))),
            _ => return None,
        };
        Some(Self { coding, open: true })
    }

    /// Takes in a piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        if !self.open {
            return;
        }
        let written = match &mut self.coding {
            Coding::Identity(bounded) => bounded.write_all(piece),
            Coding::Gzip(decoder) => decoder.write_all(piece),
            Coding::Brotli(decoder) => decoder.write_all(piece),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "a response to be filtered is cut");
            self.open = false;
        }
    }

    /// The plain body, once nothing more comes.
    pub fn finish(&mut self) -> Bytes {
        let ended = match &mut self.coding {
            Coding::Identity(_) => Ok(()),
            Coding::Gzip(decoder) => decoder.try_finish(),
            Coding::Brotli(decoder) => decoder.close(),
        };
        if let (true, Err(error)) = (self.open, ended) {
            tracing::warn!(%error, "a response to be filtered ends too early");
        }
        self.open = false;
        let bounded = match &mut self.coding {
            Coding::Identity(bounded) => bounded,
            Coding::Gzip(decoder) => decoder.get_mut(),
            Coding::Brotli(decoder) => decoder.get_mut(),
        };
        std::mem::take(&mut bounded.bytes).into()
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.max.saturating_sub(self.bytes.len()).min(bytes.len());
        if room == 0 && !bytes.is_empty() {
            return Err(io::Error::other("it is larger than `max_resp_body_size`"));
        }
        self.bytes.extend_from_slice(bytes.get(..room).unwrap_or_default());
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compression, write::GzEncoder};
    use http::HeaderValue;

    use super::*;

    fn decoded(coding: &'static str, coded: &[u8], max: usize) -> Option<Bytes> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding));
        let mut decoder = Decoder::of(&headers, max)?;
        for piece in coded.chunks(3) {
            decoder.push(piece);
        }
        Some(decoder.finish())
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn brotli(plain: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        let mut encoder = brotli::CompressorWriter::new(&mut coded, BUFFER, 5, 20);
        encoder.write_all(plain).unwrap();
        drop(encoder);
        coded
    }

    #[test]
    fn known_codings_are_taken_off() {
        let plain = b"one two three four five six seven eight nine ten";
        for (coding, coded) in [
            ("identity", plain.to_vec()),
            ("gzip", gzip(plain)),
            ("X-GZIP", gzip(plain)),
            ("br", brotli(plain)),
        ] {
            assert_eq!(decoded(coding, &coded, 1000).as_deref(), Some(&plain[..]), "{coding}");
            assert_eq!(decoded(coding, &coded, 5).as_deref(), Some(&b"one t"[..]), "{coding}");
        }
        assert!(decoded("zstd", b"", 9).is_none() && decoded("gzip, br", b"", 9).is_none());
    }

    #[test]
    fn what_is_damaged_is_cut_and_what_is_large_stays_small() {
        assert_eq!(decoded("gzip", b"no gzip at all", 99).as_deref(), Some(&b""[..]));
        assert_eq!(decoded("br", &[0xff; 40], 99).as_deref(), Some(&b""[..]));
        let zeros = vec![0; 4 << 20];
        for (coding, coded) in [("gzip", gzip(&zeros)), ("br", brotli(&zeros))] {
            assert_eq!(decoded(coding, &coded, 1000).map(|body| body.len()), Some(1000));
        }
    }
}
