//! request-id: makes sure that each request carries an id, and tells the client which.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use rand::Rng;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config};
use crate::{clock::now, exchange::Exchange};

pub(super) const KIND: Kind =
    Kind { name: "request-id", compile: RequestId::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    header_name: String,
    include_in_response: bool,
    algorithm: Algorithm,
    range_id: RangeId,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
enum Algorithm {
    Uuid,
    #[serde(rename = "uuidv7")]
    UuidV7,
    Nanoid,
    RangeId,
    Ksuid,
}

#[derive(Deserialize)]
struct RangeId {
    char_set: String,
    length: usize,
}

struct RequestId {
    header: HeaderName,
    respond: bool,
    algorithm: Algorithm,
    alphabet: Vec<char>,
    length: usize,
}

/// The id of this request, left in [`Exchange::notes`] for logs; the last one if there are several.
#[derive(Debug, Clone)]
pub struct Id(pub HeaderValue);

/// The ids of this request by the header they came in, left in [`Exchange::notes`] for the response:
/// a global rule and a route may use different headers.
#[derive(Clone, Default)]
struct Ids(Vec<(HeaderName, HeaderValue)>);

const NANOID: &str = "useandom-26T198340PX75pxJACKVERYMINDBUSHWOLF_GQZbfghjklqvwyzrict";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Where the clock of ksuid starts, in seconds of the Unix clock.
const KSUID_EPOCH: u64 = 1_400_000_000;

impl RequestId {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { header_name, include_in_response, algorithm, range_id } = config::read(value)?;
        let (alphabet, length) = match algorithm {
            Algorithm::RangeId => (range_id.char_set, range_id.length),
            _ => (NANOID.to_owned(), 21),
        };
        config::header_value(&alphabet)?;
        Ok(Arc::new(Self {
            header: config::header_name(&header_name)?,
            respond: include_in_response,
            algorithm,
            alphabet: alphabet.chars().collect(),
            length,
        }))
    }

    fn generate(&self) -> Option<HeaderValue> {
        let mut random = rand::rng();
        let text = match self.algorithm {
            Algorithm::Uuid => uuid(random.random(), 4),
            Algorithm::UuidV7 => {
                let millis = now().as_millis() & 0xffff_ffff_ffff;
                uuid(millis << 80 | random.random::<u128>() >> 48, 7)
            }
            Algorithm::Ksuid => ksuid(now().as_secs(), random.random()),
            Algorithm::Nanoid | Algorithm::RangeId => {
                let mut pick = || self.alphabet.get(random.random_range(0..self.alphabet.len()));
                std::iter::repeat_with(&mut pick).take(self.length).flatten().collect()
            }
        };
        HeaderValue::try_from(text).ok()
    }
}

impl Plugin for RequestId {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let sent = request.headers.get(&self.header).filter(|value| !value.is_empty()).cloned();
        let id = match sent {
            Some(id) => Some(id),
            None => self.generate().inspect(|id| {
                // Fails only if the header map is full; the id is in the response all the same.
                let _ = request.insert_header(self.header.clone(), id.clone());
            }),
        };
        if let Some(id) = id {
            let ids = exchange.notes.get_or_insert_default::<Ids>();
            ids.0.push((self.header.clone(), id.clone()));
            exchange.notes.insert(Id(id));
        }
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        if self.respond
            && !response.headers.contains_key(&self.header)
            && let Some(Ids(ids)) = exchange.notes.get()
            && let Some((_, id)) = ids.iter().rfind(|(header, _)| *header == self.header)
        {
            // As above.
            let _ = response.insert_header(self.header.clone(), id.clone());
        }
    }
}

/// Writes 128 bits as a UUID of that version.
fn uuid(bits: u128, version: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0b11 << 62) | version << 76 | 0b10 << 62;
    let hex = format!("{bits:032x}");
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("{a}-{b}-{c}-{d}-{e}")
}

/// 20 bytes, seconds first, in base 62 with 27 digits: sorts by time.
#[expect(clippy::indexing_slicing, reason = "the remainder is a digit")]
fn ksuid(seconds: u64, payload: u128) -> String {
    let stamp = u32::try_from(seconds.saturating_sub(KSUID_EPOCH)).unwrap_or(u32::MAX);
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&stamp.to_be_bytes());
    bytes[4..].copy_from_slice(&payload.to_be_bytes());
    let mut digits = [b'0'; 27];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in &mut bytes {
            let value = remainder << 8 | usize::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or(0);
            remainder = value % 62;
        }
        *digit = BASE62[remainder];
    }
    String::from_utf8_lossy(&digits).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_carry_version_and_variant() {
        assert_eq!(uuid(u128::MAX, 4), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(uuid(0, 7), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn ksuids_are_what_others_make() {
        // The first and the last ksuid of the specification.
        assert_eq!(ksuid(KSUID_EPOCH, 0), "000000000000000000000000000");
        assert_eq!(
            ksuid(KSUID_EPOCH + u64::from(u32::MAX), u128::MAX),
            "aWgEPTl1tmebfsQzFP4bxwgy80V"
        );
    }

    #[test]
    fn every_algorithm_makes_ids_of_its_length() {
        let lengths = [
            (Algorithm::Uuid, 36),
            (Algorithm::UuidV7, 36),
            (Algorithm::Nanoid, 21),
            (Algorithm::Ksuid, 27),
        ];
        for (algorithm, length) in lengths {
            let plugin = RequestId {
                header: HeaderName::from_static("x-request-id"),
                respond: true,
                algorithm,
                alphabet: NANOID.chars().collect(),
                length: 21,
            };
            let (one, two) = (plugin.generate().unwrap(), plugin.generate().unwrap());
            assert_eq!(one.len(), length, "{algorithm:?}");
            assert_ne!(one, two, "{algorithm:?}");
        }
    }
}
