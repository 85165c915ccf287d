//! What a zone keeps under a key, and how it looks in a file.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

/// Variants of one key that are kept; the oldest make room.
const VARIANTS_MAX: usize = 64;

/// What a kept response takes besides its texts.
const OVERHEAD: usize = 256;

/// Something kept. Times are milliseconds of the Unix clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub key: String,
    pub stored_ms: u64,
    pub expires_ms: u64,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Response {
        status: StatusCode,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
    },
    /// The response depends on these headers of the request; the keys of its variants.
    Variants {
        names: Vec<String>,
        keys: Vec<String>,
    },
}

/// Adds a variant as the newest. Answers all that stay and those that have to go.
pub fn with_variant(mut known: Vec<String>, key: &str) -> (Vec<String>, Vec<String>) {
    known.retain(|variant| variant != key);
    known.push(key.to_owned());
    let superfluous = known.len().saturating_sub(VARIANTS_MAX);
    let stay = known.split_off(superfluous);
    (stay, known)
}

/// The first bytes of a file; the last one is the number of the format.
const MAGIC: &[u8] = b"gantry\x00\x01";

/// What a file says before the body. Values of headers are written as Latin-1, so that every byte
/// has a letter.
#[derive(Serialize, Deserialize)]
struct Head {
    key: String,
    stored_ms: u64,
    expires_ms: u64,
    status: Option<u16>,
    headers: Vec<(String, String)>,
    names: Vec<String>,
    keys: Vec<String>,
}

impl Stored {
    /// How many bytes it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        let content = match &self.content {
            Content::Response { headers, body, .. } => {
                let lengths = headers.iter().map(|(name, value)| name.as_str().len() + value.len());
                body.len() + lengths.sum::<usize>()
            }
            Content::Variants { names, keys } => {
                names.iter().chain(keys).map(String::len).sum::<usize>()
            }
        };
        OVERHEAD + 2 * self.key.len() + content
    }

    /// As a file: magic, length of the head, head, body, checksum.
    #[must_use]
    pub fn encode(&self) -> Option<Bytes> {
        let latin =
            |value: &HeaderValue| value.as_bytes().iter().copied().map(char::from).collect();
        let (status, headers, body, names, keys) = match &self.content {
            Content::Response { status, headers, body } => {
                let header = |(name, value): &(HeaderName, HeaderValue)| {
                    (name.as_str().to_owned(), latin(value))
                };
                let headers = headers.iter().map(header).collect();
                (Some(status.as_u16()), headers, body.clone(), Vec::new(), Vec::new())
            }
            Content::Variants { names, keys } => {
                (None, Vec::new(), Bytes::new(), names.clone(), keys.clone())
            }
        };
        let Self { key, stored_ms, expires_ms, .. } = self;
        let (key, stored_ms, expires_ms) = (key.clone(), *stored_ms, *expires_ms);
        let head = Head { key, stored_ms, expires_ms, status, headers, names, keys };
        let head = serde_json::to_vec(&head).ok()?;
        let mut file = BytesMut::with_capacity(MAGIC.len() + 8 + head.len() + body.len());
        file.put_slice(MAGIC);
        file.put_u32(u32::try_from(head.len()).ok()?);
        file.put_slice(&head);
        file.put_slice(&body);
        file.put_u32(crc32fast::hash(&file));
        Some(file.freeze())
    }

    /// Reads a file; None if it is damaged.
    #[must_use]
    pub fn decode(mut file: Bytes) -> Option<Self> {
        let checksum = file.split_off(file.len().checked_sub(4)?);
        if crc32fast::hash(&file).to_be_bytes() != *checksum || !file.starts_with(MAGIC) {
            return None;
        }
        let mut rest = file.split_off(MAGIC.len());
        let length = rest.first_chunk::<4>().copied().map(u32::from_be_bytes)?;
        let mut rest = rest.split_off(4.min(rest.len()));
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len())?;
        let body = rest.split_off(length);
        let head: Head = serde_json::from_slice(&rest).ok()?;
        let bytes = |text: &str| text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>().ok();
        let header = |(name, value): &(String, String)| {
            let value = HeaderValue::from_bytes(&bytes(value)?).ok()?;
            Some((name.parse().ok()?, value))
        };
        let content = match head.status {
            None => Content::Variants { names: head.names, keys: head.keys },
            Some(status) => Content::Response {
                status: StatusCode::from_u16(status).ok()?,
                headers: head.headers.iter().map(header).collect::<Option<_>>()?,
                body,
            },
        };
        let Head { key, stored_ms, expires_ms, .. } = head;
        Some(Self { key, stored_ms, expires_ms, content })
    }
}
