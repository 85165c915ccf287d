//! gRPC from end to end: the small etcd of these tests, asked through the gateway.

use gantry_etcd_proto::etcdserverpb::{
    PutRequest, RangeRequest, WatchCreateRequest, WatchRequest, kv_client::KvClient,
    watch_client::WatchClient, watch_request::RequestUnion,
};
use gantry_gateway::ClientOptions;
use serde_json::{Value, json};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tonic::{
    Code,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    etcd::Etcd,
    harness::{Rig, local},
    node::Identity,
};

fn route(scheme: &str, node: std::net::SocketAddr, more: &Value) -> Value {
    let mut upstream = json!({"scheme": scheme, "nodes": {node.to_string(): 1}});
    upstream.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"uri": "/*", "upstream": upstream})
}

/// A backend with one key.
async fn backend(identity: Option<&Identity>) -> (Etcd, std::net::SocketAddr) {
    let etcd = Etcd::default();
    etcd.put("a", &json!(1));
    let address = match identity {
        None => etcd.serve(local(), Default::default()).await,
        Some(identity) => etcd.serve_tls(&identity.certificate, &identity.key).await,
    };
    (etcd, address)
}

/// Unary calls, an error, and a stream in both directions.
async fn converse(channel: Channel, etcd: &Etcd) {
    let mut kv = KvClient::new(channel.clone());
    let answer = kv.range(RangeRequest::default()).await.unwrap();
    let status = answer.metadata().get("grpc-status").map(|status| status.as_bytes());
    assert_eq!(status, Some(b"0".as_slice()), "the trailers have come");
    assert_eq!(&*answer.into_inner().kvs[0].key, b"/apisix/a");
    let error = kv.put(PutRequest::default()).await.unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::Unimplemented, "put"));

    let (requests, stream) = tokio::sync::mpsc::channel(1);
    let create = WatchCreateRequest { start_revision: 1, ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.unwrap();
    let answer = WatchClient::new(channel).watch(ReceiverStream::new(stream)).await.unwrap();
    let mut events = answer.into_inner();
    assert!(events.next().await.unwrap().unwrap().created);
    assert_eq!(events.next().await.unwrap().unwrap().events.len(), 1);
    for round in 0..5 {
        etcd.put("b", &json!(round));
        let events = events.next().await.unwrap().unwrap().events;
        assert_eq!(&*events[0].kv.as_ref().unwrap().key, b"/apisix/b");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_streams_pass_without_tls() {
    let (etcd, node) = backend(None).await;
    let resources = [("routes/1", route("grpc", node, &json!({})))];
    let clients = ClientOptions { h2c: true, ..ClientOptions::default() };
    let rig = Rig::start_with(&resources, clients).await;
    let channel = Endpoint::from_shared(rig.gateway.url("")).unwrap().connect().await.unwrap();
    converse(channel, &etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_streams_pass_with_tls_on_both_sides() {
    let identity = Identity::new();
    let (etcd, node) = backend(Some(&identity)).await;
    let ssl = json!({"sni": "localhost", "cert": identity.certificate, "key": identity.key});
    let rig = Rig::start(&[
        ("routes/1", route("grpcs", node, &json!({"pass_host": "node"}))),
        ("ssls/1", ssl),
    ])
    .await;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.certificate))
        .domain_name("localhost");
    let url = format!("https://localhost:{}", rig.gateway.bound.https.unwrap().port());
    let endpoint = Endpoint::from_shared(url).unwrap().tls_config(tls).unwrap();
    converse(endpoint.connect().await.unwrap(), &etcd).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_nodes_are_passed_over() {
    let (etcd, node) = backend(None).await;
    let dead = tokio::net::TcpListener::bind(local()).await.unwrap().local_addr().unwrap();
    let nodes = json!([
        {"host": "127.0.0.1", "port": dead.port(), "weight": 1, "priority": 1},
        {"host": "127.0.0.1", "port": node.port(), "weight": 1},
    ]);
    let resources = [("routes/1", route("grpc", node, &json!({"nodes": nodes})))];
    let clients = ClientOptions { h2c: true, ..ClientOptions::default() };
    let rig = Rig::start_with(&resources, clients).await;
    let channel = Endpoint::from_shared(rig.gateway.url("")).unwrap().connect().await.unwrap();
    converse(channel, &etcd).await;
}
