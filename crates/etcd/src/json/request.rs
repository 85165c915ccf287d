//! Requests as etcd's JSON gateway reads them: bytes in base64, 64-bit numbers as numbers or
//! strings, enums as numbers or names, absent and `null` fields at their defaults, unknown fields
//! ignored, no content type needed.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use gantry_etcd_proto::etcdserverpb as pb;
use pb::range_request::{SortOrder, SortTarget};
use pb::watch_create_request::FilterType;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use tonic::Status;

/// Reads a body; an empty one is an empty object.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    let body = if body.trim_ascii().is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// The first object of a body that may be a stream of them.
pub fn read_first<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    match serde_json::Deserializer::from_slice(body).into_iter().next() {
        Some(first) => first.map_err(|error| Status::invalid_argument(error.to_string())),
        None => Err(Status::invalid_argument("the body is empty")),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Range {
    #[serde(deserialize_with = "bytes")]
    key: Bytes,
    #[serde(deserialize_with = "bytes")]
    range_end: Bytes,
    #[serde(deserialize_with = "number")]
    limit: i64,
    #[serde(deserialize_with = "number")]
    revision: i64,
    sort_order: Scalar,
    sort_target: Scalar,
    serializable: Option<bool>,
    keys_only: Option<bool>,
    count_only: Option<bool>,
    #[serde(deserialize_with = "number")]
    min_mod_revision: i64,
    #[serde(deserialize_with = "number")]
    max_mod_revision: i64,
    #[serde(deserialize_with = "number")]
    min_create_revision: i64,
    #[serde(deserialize_with = "number")]
    max_create_revision: i64,
}

impl Range {
    pub fn into_message(self) -> Result<pb::RangeRequest, Status> {
        let order = |name: &str| SortOrder::from_str_name(name).map(i32::from);
        let target = |name: &str| SortTarget::from_str_name(name).map(i32::from);
        Ok(pb::RangeRequest {
            key: self.key,
            range_end: self.range_end,
            limit: self.limit,
            revision: self.revision,
            sort_order: self.sort_order.choice("sort_order", order)?,
            sort_target: self.sort_target.choice("sort_target", target)?,
            serializable: self.serializable.unwrap_or(false),
            keys_only: self.keys_only.unwrap_or(false),
            count_only: self.count_only.unwrap_or(false),
            min_mod_revision: self.min_mod_revision,
            max_mod_revision: self.max_mod_revision,
            min_create_revision: self.min_create_revision,
            max_create_revision: self.max_create_revision,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Put {
    #[serde(deserialize_with = "bytes")]
    key: Bytes,
    #[serde(deserialize_with = "bytes")]
    value: Bytes,
    #[serde(deserialize_with = "number")]
    lease: i64,
    prev_kv: Option<bool>,
    ignore_value: Option<bool>,
    ignore_lease: Option<bool>,
}

impl Put {
    pub fn into_message(self) -> pb::PutRequest {
        pb::PutRequest {
            key: self.key,
            value: self.value,
            lease: self.lease,
            prev_kv: self.prev_kv.unwrap_or(false),
            ignore_value: self.ignore_value.unwrap_or(false),
            ignore_lease: self.ignore_lease.unwrap_or(false),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Watch {
    pub create_request: Option<WatchCreate>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct WatchCreate {
    #[serde(deserialize_with = "bytes")]
    key: Bytes,
    #[serde(deserialize_with = "bytes")]
    range_end: Bytes,
    #[serde(deserialize_with = "number")]
    start_revision: i64,
    progress_notify: Option<bool>,
    filters: Option<Vec<Scalar>>,
    prev_kv: Option<bool>,
    #[serde(deserialize_with = "number")]
    watch_id: i64,
    fragment: Option<bool>,
}

impl WatchCreate {
    pub fn into_message(self) -> Result<pb::WatchCreateRequest, Status> {
        let filter = |name: &str| FilterType::from_str_name(name).map(i32::from);
        let filters = self.filters.unwrap_or_default();
        let filters = filters.into_iter().map(|given| given.choice("filters", filter));
        Ok(pb::WatchCreateRequest {
            key: self.key,
            range_end: self.range_end,
            start_revision: self.start_revision,
            progress_notify: self.progress_notify.unwrap_or(false),
            filters: filters.collect::<Result<_, _>>()?,
            prev_kv: self.prev_kv.unwrap_or(false),
            watch_id: self.watch_id,
            fragment: self.fragment.unwrap_or(false),
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Lease {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub id: i64,
    #[serde(rename = "TTL", deserialize_with = "number")]
    pub ttl_s: i64,
    pub keys: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Authenticate {
    pub name: String,
    pub password: String,
}

/// A number in any spelling, or the name of a choice.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Float(f64),
    Text(String),
    Null(()),
}

impl Default for Scalar {
    fn default() -> Self {
        Self::Null(())
    }
}

impl Scalar {
    fn number(&self) -> Option<i64> {
        match self {
            Self::Number(number) => Some(*number),
            // Lua writes large whole numbers as 1e+15; above 2^53 a float is no longer exact.
            Self::Float(float) if float.fract() == 0.0 && float.abs() < 9e15 => Some(*float as i64),
            Self::Float(_) => None,
            Self::Text(text) => text.parse().ok(),
            Self::Null(()) => Some(0),
        }
    }

    /// The number of an enum's value, given as such or by name.
    fn choice(&self, field: &str, named: impl Fn(&str) -> Option<i32>) -> Result<i32, Status> {
        let choice = match self {
            Self::Text(name) => named(name),
            other => other.number().and_then(|number| i32::try_from(number).ok()),
        };
        choice.ok_or_else(|| Status::invalid_argument(format!("`{field}` has no such value")))
    }
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let scalar = Scalar::deserialize(deserializer)?;
    scalar.number().ok_or_else(|| D::Error::custom("expected a 64-bit integer"))
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    STANDARD.decode(text).map(Bytes::from).map_err(|_| D::Error::custom("expected base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(body: &str) -> Result<pb::RangeRequest, Status> {
        read::<Range>(body.as_bytes())?.into_message()
    }

    #[test]
    fn a_range_is_read_as_apisix_writes_it() {
        let request = range(
            r#"{"key":"L2FwaXNpeA==","range_end":"L2FwaXNpeQ==","limit":0,"revision":0,
                "sort_order":0,"sort_target":0,"serializable":false,"keys_only":false,
                "count_only":false,"min_mod_revision":0,"max_mod_revision":0,
                "min_create_revision":0,"max_create_revision":0,"surprise":[1]}"#,
        );
        let expected = pb::RangeRequest {
            key: Bytes::from_static(b"/apisix"),
            range_end: Bytes::from_static(b"/apisiy"),
            ..pb::RangeRequest::default()
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn numbers_come_as_strings_and_enums_as_names_too() {
        let request = range(
            r#"{"key":"YQ==","limit":"3","sort_order":"DESCEND","sort_target":3,"revision":1e2}"#,
        )
        .unwrap();
        assert_eq!((request.limit, request.revision), (3, 100));
        assert_eq!(request.sort_order(), SortOrder::Descend);
        assert_eq!(request.sort_target(), SortTarget::Mod);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for body in [
            r#"{"key":"%"}"#,
            r#"{"limit":"x"}"#,
            r#"{"sort_order":"UP"}"#,
            r#"{"limit":1.5}"#,
            "[",
            "7",
        ] {
            assert_eq!(range(body).unwrap_err().code(), tonic::Code::InvalidArgument, "{body}");
        }
    }

    #[test]
    fn a_watch_is_the_first_object_of_its_body() {
        let body = br#"{"create_request":{"key":"YQ==","start_revision":"30"}} {"more":1}"#;
        let create = read_first::<Watch>(body).unwrap().create_request.unwrap();
        assert_eq!(create.into_message().unwrap().start_revision, 30);
    }
}
