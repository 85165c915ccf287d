//! The gRPC form, as a client library uses it.

use bytes::Bytes;
use gantry_etcd_proto::etcdserverpb as pb;
use gantry_etcd_proto::mvccpb::event::EventType;
use pb::kv_client::KvClient;
use pb::lease_client::LeaseClient;
use pb::maintenance_client::MaintenanceClient;
use pb::watch_client::WatchClient;
use pb::watch_request::RequestUnion;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::support::Gateways;

pub fn create(key: &str, range_end: &str, start_revision: i64) -> pb::WatchRequest {
    let create = pb::WatchCreateRequest {
        key: Bytes::copy_from_slice(key.as_bytes()),
        range_end: Bytes::copy_from_slice(range_end.as_bytes()),
        start_revision,
        ..Default::default()
    };
    pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
}

/// One stream of watches.
pub struct Stream {
    pub requests: mpsc::Sender<pb::WatchRequest>,
    answers: Streaming<pb::WatchResponse>,
}

impl Stream {
    pub async fn open(channel: tonic::transport::Channel, first: pb::WatchRequest) -> Self {
        let (requests, queued) = mpsc::channel(16);
        requests.send(first).await.expect("there is room");
        let answers = WatchClient::new(channel).watch(ReceiverStream::new(queued)).await;
        Self { requests, answers: answers.expect("a stream").into_inner() }
    }

    pub async fn next(&mut self) -> pb::WatchResponse {
        let answer = tokio::time::timeout(crate::support::PATIENCE, self.answers.message());
        answer.await.expect("in time").expect("no error").expect("the stream goes on")
    }

    async fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.send(request).await.expect("the stream is open");
    }
}

fn at(answer: &pb::WatchResponse) -> i64 {
    answer.header.as_ref().map_or(0, |header| header.revision)
}

#[tokio::test]
async fn several_watches_share_a_stream_and_end_one_by_one() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let channel = gateways.channel(&cluster.bundle).await;
    let mut stream = Stream::open(channel, create("/apisix/", "/apisix0", 0)).await;
    let everything = stream.next().await;
    assert!(everything.created);
    stream.requests.send(create("/apisix/ssl", "/apisix/ssm", 0)).await.unwrap();
    let old = stream.next().await;
    assert!(old.created && old.watch_id != everything.watch_id);

    let (written, key) = cluster.add_certificate("a.example.com").await;
    let old_key = key.replace("/ssls/", "/ssl/");
    for _ in 0..2 {
        let told = stream.next().await;
        assert_eq!(at(&told), written);
        let told_key = told.events[0].kv.as_ref().unwrap().key.clone();
        assert_eq!(told_key, if told.watch_id == old.watch_id { &old_key } else { &key });
    }
    stream
        .ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: old.watch_id }))
        .await;
    let canceled = stream.next().await;
    assert!(canceled.canceled && canceled.watch_id == old.watch_id);
    cluster.add("ann").await;
    cluster.remove("ann").await;
    stream.next().await;
    let told = stream.next().await;
    assert_eq!(told.watch_id, everything.watch_id);
    assert_eq!(told.events[0].r#type(), EventType::Delete);
    stream.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})).await;
    let progress = stream.next().await;
    assert_eq!((at(&progress), progress.events.len()), (written + 2, 0));
}

#[tokio::test]
async fn filters_leave_out_what_they_name_and_unknown_options_are_refused() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let channel = gateways.channel(&cluster.bundle).await;
    let mut request = create("/apisix/", "/apisix0", 0);
    if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
        create.filters = vec![0];
    }
    let mut stream = Stream::open(channel, request.clone()).await;
    assert!(stream.next().await.created);
    cluster.add("ann").await;
    let deleted = cluster.remove("ann").await;
    assert_eq!(at(&stream.next().await), deleted);

    if let Some(RequestUnion::CreateRequest(create)) = &mut request.request_union {
        create.prev_kv = true;
    }
    stream.requests.send(request).await.unwrap();
    let refused = stream.next().await;
    assert!(refused.canceled && refused.cancel_reason.contains("`prev_kv`"));
}

#[tokio::test]
async fn the_other_services_answer_as_etcd_does() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let channel = gateways.channel(&cluster.bundle).await;
    let newest = cluster.add("ann").await;
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await;
    let status = status.unwrap().into_inner();
    assert_eq!((status.version.as_str(), status.header.unwrap().revision), ("3.5.0", newest));

    let mut kv = KvClient::new(channel.clone());
    let refused = kv.txn(pb::TxnRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    let empty = kv.range(pb::RangeRequest::default()).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);

    let mut leases = LeaseClient::new(channel);
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 30, id: 0 }).await.unwrap();
    let id = granted.into_inner().id;
    let renewal = tokio_stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut renewed = leases.lease_keep_alive(renewal).await.unwrap().into_inner();
    assert_eq!(renewed.message().await.unwrap().unwrap().ttl, 30);
    leases.lease_revoke(pb::LeaseRevokeRequest { id }).await.unwrap();
    let asked = pb::LeaseTimeToLiveRequest { id, keys: false };
    assert_eq!(leases.lease_time_to_live(asked).await.unwrap().into_inner().ttl, -1);
}

#[tokio::test]
async fn revoking_a_certificate_ends_its_streams() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let channel = gateways.channel(&cluster.bundle).await;
    let mut stream = Stream::open(channel.clone(), create("/apisix/", "/apisix0", 0)).await;
    assert!(stream.next().await.created);
    cluster.revoke().await;
    let ended = tokio::time::timeout(crate::support::PATIENCE, stream.answers.message()).await;
    assert_eq!(ended.unwrap().unwrap_err().code(), Code::Unauthenticated);
    let status = MaintenanceClient::new(channel).status(pb::StatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
