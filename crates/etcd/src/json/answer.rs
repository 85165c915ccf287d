//! Answers as etcd's JSON gateway writes them: bytes in base64, 64-bit numbers as strings, nothing
//! for a field at its default. A DELETE is recognised by its missing `value`.

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use gantry_etcd_proto::etcdserverpb as pb;
use gantry_etcd_proto::mvccpb;
use serde::{Serialize, Serializer};

#[derive(Serialize)]
pub struct Header {
    #[serde(serialize_with = "text")]
    cluster_id: u64,
    #[serde(serialize_with = "text")]
    member_id: u64,
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    revision: i64,
    #[serde(serialize_with = "text")]
    raft_term: u64,
}

impl From<&pb::ResponseHeader> for Header {
    fn from(header: &pb::ResponseHeader) -> Self {
        Self {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        }
    }
}

#[derive(Serialize)]
pub struct KeyValue<'a> {
    #[serde(serialize_with = "base64", skip_serializing_if = "empty")]
    key: &'a [u8],
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    create_revision: i64,
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    mod_revision: i64,
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    version: i64,
    #[serde(serialize_with = "base64", skip_serializing_if = "empty")]
    value: &'a [u8],
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    lease: i64,
}

impl<'a> From<&'a mvccpb::KeyValue> for KeyValue<'a> {
    fn from(kv: &'a mvccpb::KeyValue) -> Self {
        Self {
            key: &kv.key,
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            version: kv.version,
            value: &kv.value,
            lease: kv.lease,
        }
    }
}

#[derive(Serialize)]
pub struct Range<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Header>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    kvs: Vec<KeyValue<'a>>,
    #[serde(skip_serializing_if = "no")]
    more: bool,
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    count: i64,
}

impl<'a> From<&'a pb::RangeResponse> for Range<'a> {
    fn from(answer: &'a pb::RangeResponse) -> Self {
        Self {
            header: answer.header.as_ref().map(Header::from),
            kvs: answer.kvs.iter().map(KeyValue::from).collect(),
            more: answer.more,
            count: answer.count,
        }
    }
}

#[derive(Serialize)]
pub struct Put<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    header: Option<Header>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_kv: Option<KeyValue<'a>>,
}

impl<'a> From<&'a pb::PutResponse> for Put<'a> {
    fn from(answer: &'a pb::PutResponse) -> Self {
        Self {
            header: answer.header.as_ref().map(Header::from),
            prev_kv: answer.prev_kv.as_ref().map(KeyValue::from),
        }
    }
}

/// One line of a watch.
#[derive(Serialize)]
pub struct Watch<'a> {
    header: Header,
    #[serde(skip_serializing_if = "no")]
    created: bool,
    #[serde(skip_serializing_if = "no")]
    canceled: bool,
    #[serde(serialize_with = "text", skip_serializing_if = "zero")]
    compact_revision: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<Event<'a>>,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    kv: Option<KeyValue<'a>>,
}

impl<'a> Watch<'a> {
    #[must_use]
    pub fn created(header: &pb::ResponseHeader) -> Self {
        Self { created: true, ..Self::plain(header) }
    }

    #[must_use]
    pub fn canceled(header: &pb::ResponseHeader, compact_revision: i64) -> Self {
        Self { canceled: true, compact_revision, ..Self::plain(header) }
    }

    #[must_use]
    pub fn events(header: &pb::ResponseHeader, events: &'a [mvccpb::Event]) -> Self {
        let events = events.iter().map(|event| Event {
            kind: (event.r#type() == mvccpb::event::EventType::Delete).then_some("DELETE"),
            kv: event.kv.as_ref().map(KeyValue::from),
        });
        Self { events: events.collect(), ..Self::plain(header) }
    }

    fn plain(header: &pb::ResponseHeader) -> Self {
        Self {
            header: header.into(),
            created: false,
            canceled: false,
            compact_revision: 0,
            events: Vec::new(),
        }
    }
}

/// A lease, granted, renewed, asked about or ended.
#[derive(Default, Serialize)]
pub struct Lease<'a> {
    pub header: Option<Header>,
    #[serde(rename = "ID", serialize_with = "text", skip_serializing_if = "zero")]
    pub id: i64,
    #[serde(rename = "TTL", serialize_with = "text", skip_serializing_if = "zero")]
    pub ttl_s: i64,
    #[serde(rename = "grantedTTL", serialize_with = "text", skip_serializing_if = "zero")]
    pub granted_s: i64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<Base64<'a>>,
}

#[derive(Serialize)]
pub struct Authenticated {
    pub token: String,
}

#[derive(Serialize)]
pub struct Version {
    pub etcdserver: &'static str,
    pub etcdcluster: &'static str,
}

/// A message of a stream.
#[derive(Serialize)]
pub struct Streamed<T> {
    pub result: T,
}

/// Bytes, written as text.
#[derive(Serialize)]
#[serde(transparent)]
pub struct Base64<'a>(#[serde(serialize_with = "base64")] pub &'a [u8]);

/// An object followed by a newline: readers of streams look for it at the end of a chunk.
#[must_use]
pub fn line<T: Serialize>(result: T) -> bytes::Bytes {
    let mut line = serde_json::to_vec(&Streamed { result }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

fn text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn base64<S: Serializer>(bytes: &&[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
}

fn zero(number: &i64) -> bool {
    *number == 0
}

fn no(flag: &bool) -> bool {
    !flag
}

fn empty(bytes: &&[u8]) -> bool {
    bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn header(revision: i64) -> pb::ResponseHeader {
        pb::ResponseHeader { cluster_id: 3, member_id: 1, revision, raft_term: 2 }
    }

    fn event(kind: mvccpb::event::EventType, value: &'static [u8], create: i64) -> mvccpb::Event {
        let kv = mvccpb::KeyValue {
            key: Bytes::from_static(b"a"),
            create_revision: create,
            mod_revision: 226,
            version: create.min(1),
            value: Bytes::from_static(value),
            lease: 0,
        };
        mvccpb::Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
    }

    #[test]
    fn lines_of_a_watch_look_as_captured() {
        use mvccpb::event::EventType::{Delete, Put};
        assert_eq!(
            line(Watch::created(&header(47))),
            "{\"result\":{\"header\":{\"cluster_id\":\"3\",\"member_id\":\"1\",\"revision\":\"47\",\
             \"raft_term\":\"2\"},\"created\":true}}\n"
        );
        let events = [event(Put, b"{}", 226), event(Delete, b"", 0)];
        assert_eq!(
            line(Watch::events(&header(226), &events)),
            "{\"result\":{\"header\":{\"cluster_id\":\"3\",\"member_id\":\"1\",\"revision\":\"226\",\
             \"raft_term\":\"2\"},\"events\":[{\"kv\":{\"key\":\"YQ==\",\"create_revision\":\"226\",\
             \"mod_revision\":\"226\",\"version\":\"1\",\"value\":\"e30=\"}},{\"type\":\"DELETE\",\
             \"kv\":{\"key\":\"YQ==\",\"mod_revision\":\"226\"}}]}}\n"
        );
        assert_eq!(
            line(Watch::canceled(&header(0), 47)),
            "{\"result\":{\"header\":{\"cluster_id\":\"3\",\"member_id\":\"1\",\"raft_term\":\"2\"},\
             \"canceled\":true,\"compact_revision\":\"47\"}}\n"
        );
    }

    #[test]
    fn an_empty_range_has_no_kvs() {
        let answer = pb::RangeResponse { header: Some(header(1)), ..pb::RangeResponse::default() };
        assert_eq!(
            serde_json::to_string(&Range::from(&answer)).unwrap(),
            r#"{"header":{"cluster_id":"3","member_id":"1","revision":"1","raft_term":"2"}}"#
        );
    }
}
