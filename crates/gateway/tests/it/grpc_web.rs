//! Browsers that call a gRPC service, here the small etcd of the tests.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use crate::harness::Rig;

/// Calls `etcdserverpb.KV/Range` for one key; the frame is the same in gRPC and gRPC-Web.
fn range(key: &str) -> Vec<u8> {
    let mut message = vec![0x0a, u8::try_from(key.len()).unwrap()];
    message.extend_from_slice(key.as_bytes());
    let mut frame = vec![0, 0, 0, 0, u8::try_from(message.len()).unwrap()];
    frame.extend_from_slice(&message);
    frame
}

/// The frames of a body: whether they hold trailers, and what they hold.
fn frames(mut body: &[u8]) -> Vec<(bool, String)> {
    let mut frames = Vec::new();
    while let Some((head, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let (frame, rest) = rest.split_at(usize::try_from(length).unwrap());
        frames.push((head[0] == 0x80, String::from_utf8_lossy(frame).into_owned()));
        body = rest;
    }
    frames
}

/// A gateway with a route to its own etcd.
async fn rig() -> Rig {
    let rig = Rig::start(&[]).await;
    let upstream = json!({"scheme": "grpc", "nodes": {rig.etcd_address.to_string(): 1}});
    let plugins = json!({"grpc-web": {}});
    rig.put("routes/1", &json!({"uri": "/web/*", "upstream": upstream, "plugins": plugins})).await;
    rig.put("routes/2", &json!({"uri": "/exact", "upstream": upstream, "plugins": plugins})).await;
    rig
}

async fn post(rig: &Rig, path: &str, kind: &str, body: Vec<u8>) -> reqwest::Response {
    let request = rig.gateway.client.post(rig.gateway.url(path)).header("Content-Type", kind);
    request.body(body).send().await.unwrap()
}

#[tokio::test]
async fn calls_and_answers_are_frames_in_bytes_or_in_base64() {
    let rig = rig().await;
    let path = "/web/etcdserverpb.KV/Range";
    let call = range("/apisix/routes/2");
    for (kind, text) in [
        ("application/grpc-web", false),
        ("application/grpc-web+proto", false),
        ("application/grpc-web-text", true),
        ("application/grpc-web-text+proto", true),
    ] {
        let body = if text { STANDARD.encode(&call).into_bytes() } else { call.clone() };
        let response = post(&rig, path, kind, body).await;
        assert_eq!(response.status(), 200, "{kind}: {:?}", response.headers());
        assert_eq!(response.headers()["content-type"], kind);
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        assert_eq!(response.headers()["access-control-expose-headers"], "grpc-message,grpc-status");
        let body = response.bytes().await.unwrap();
        let body: Vec<u8> = if text {
            body.chunks(4).flat_map(|group| STANDARD.decode(group).unwrap()).collect()
        } else {
            body.to_vec()
        };
        let frames = frames(&body);
        assert_eq!(frames.len(), 2, "{kind}: {frames:?}");
        assert!(!frames[0].0 && frames[0].1.contains("\"uri\":\"/exact\""), "{frames:?}");
        assert!(frames[1].0 && frames[1].1.contains("grpc-status:0\r\n"), "{frames:?}");
    }
}

#[tokio::test]
async fn failures_of_the_service_arrive() {
    let rig = rig().await;
    let response = post(&rig, "/web/no.Such/Method", "application/grpc-web", range("x")).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["grpc-status"], "12");
}

#[tokio::test]
async fn what_is_no_call_is_refused() {
    let rig = rig().await;
    let path = "/web/etcdserverpb.KV/Range";
    let preflight = rig.gateway.client.request(reqwest::Method::OPTIONS, rig.gateway.url(path));
    let preflight = preflight.send().await.unwrap();
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "POST");
    assert_eq!(
        preflight.headers()["access-control-allow-headers"],
        "content-type,x-grpc-web,x-user-agent"
    );
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    assert_eq!(rig.gateway.fetch(path).await.0, 405);
    assert_eq!(post(&rig, path, "application/json", Vec::new()).await.status(), 400);
    assert_eq!(post(&rig, "/exact", "application/grpc-web", range("x")).await.status(), 400);
    let broken = post(&rig, path, "application/grpc-web-text", b"!!!!".to_vec()).await;
    assert_eq!(broken.status(), 400);
}
