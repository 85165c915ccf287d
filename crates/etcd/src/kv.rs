//! Reads of configuration, and the few writes gateways may make.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use gantry_app::feed;
use gantry_etcd_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use gantry_etcd_proto::etcdserverpb::{PutRequest, PutResponse, RangeRequest, RangeResponse};
use gantry_etcd_proto::mvccpb::KeyValue;
use tonic::Status;

use crate::error;
use crate::key::{self, KeyRange};
use crate::space::Space;

/// Answers a range: in one piece, as large as it is, because gateways do not page.
pub async fn range(space: &Space, request: RangeRequest) -> Result<RangeResponse, Status> {
    if request.key.is_empty() {
        return Err(error::key_missing());
    }
    let range = KeyRange::new(request.key.clone(), request.range_end.clone());
    if range.is_inside(key::SERVER_INFO) {
        let kvs = space.reports().range(&range);
        return Ok(answer(space, &request, space.newest(), kvs));
    }
    let (revision, kvs) = configuration(space, &range, request.revision).await?;
    Ok(answer(space, &request, revision, kvs))
}

/// The configuration in a range at a revision (zero: the newest), ascending, with placeholders.
async fn configuration(
    space: &Space,
    range: &KeyRange,
    revision: i64,
) -> Result<(i64, Vec<KeyValue>), Status> {
    let (from, to) = range.stretch();
    let asked = (revision > 0).then_some(revision);
    let found =
        feed::range(&space.app, space.cluster, from, to, asked).await.map_err(error::status)?;
    space.has_shown(found.revision);
    let mut kvs: Vec<KeyValue> = range
        .placeholders()
        .map(|key| placeholder(range, &key))
        .chain(found.entries.into_iter().filter(|entry| range.contains(&entry.key)).map(|entry| {
            KeyValue {
                key: shown(range, &entry.key),
                create_revision: entry.create_revision,
                mod_revision: entry.mod_revision,
                version: entry.version,
                value: shared(entry.value),
                lease: 0,
            }
        }))
        .collect();
    kvs.sort_by(|a, b| a.key.cmp(&b.key));
    Ok((found.revision, kvs))
}

/// Made here, not stored: there before anything else, in every cluster.
fn placeholder(range: &KeyRange, key: &str) -> KeyValue {
    KeyValue {
        key: shown(range, key),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        value: Bytes::from_static(key::PLACEHOLDER.as_bytes()),
        lease: 0,
    }
}

/// The bytes of a stored value, without a copy.
pub fn shared(value: Arc<str>) -> Bytes {
    Bytes::from_owner(Arc::<[u8]>::from(value))
}

/// The name under which the asker knows a stored key.
pub fn shown(range: &KeyRange, key: &str) -> Bytes {
    Bytes::from(range.shown(key).into_owned())
}

/// Applies a request's filters, order and limit to the keys of its range.
fn answer(
    space: &Space,
    request: &RangeRequest,
    revision: i64,
    mut kvs: Vec<KeyValue>,
) -> RangeResponse {
    let header = Some(space.header(revision));
    let count = i64::try_from(kvs.len()).unwrap_or(i64::MAX);
    if request.count_only {
        return RangeResponse { header, count, ..RangeResponse::default() };
    }
    let between = |value: i64, min: i64, max: i64| value >= min && (max == 0 || value <= max);
    kvs.retain(|kv| {
        between(kv.mod_revision, request.min_mod_revision, request.max_mod_revision)
            && between(kv.create_revision, request.min_create_revision, request.max_create_revision)
    });
    sort(&mut kvs, request.sort_target(), request.sort_order());
    let limit = usize::try_from(request.limit).unwrap_or(0);
    let more = limit > 0 && kvs.len() > limit;
    if more {
        kvs.truncate(limit);
    }
    if request.keys_only {
        kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
    }
    RangeResponse { header, kvs, more, count }
}

/// Sorts keys that come ascending; as in etcd another target without an order means ascending.
fn sort(kvs: &mut [KeyValue], target: SortTarget, order: SortOrder) {
    match target {
        SortTarget::Key => {}
        SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
        SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => kvs.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if order == SortOrder::Descend {
        kvs.reverse();
    }
}

/// Accepts a gateway's report about itself. The placeholders that gateways write at every start
/// are there already; everything else is configuration and refused.
pub fn put(
    space: &Space,
    request: PutRequest,
    from: Option<IpAddr>,
) -> Result<PutResponse, Status> {
    if request.key.is_empty() {
        return Err(error::key_missing());
    }
    let header = space.newest_header();
    let key = std::str::from_utf8(&request.key).map_err(|_| error::read_only("put"))?;
    if key::is_placeholder(key) && request.value == key::PLACEHOLDER {
        return Ok(PutResponse { header: Some(header), prev_kv: None });
    }
    if !key.starts_with(key::SERVER_INFO) {
        return Err(error::read_only("put"));
    }
    if request.ignore_value || request.ignore_lease {
        return Err(error::unsupported("`ignore_value` or `ignore_lease`"));
    }
    let previous = space.reports().put(key, request.value, request.lease, header.revision)?;
    if let Some(address) = from {
        space.presence.wrote(key, address);
    }
    let prev_kv = previous.filter(|_| request.prev_kv);
    Ok(PutResponse { header: Some(header), prev_kv })
}
