//! Where watches start, and how they end.

use serde_json::json;

use crate::support::{Gateways, Http, plain, revision, watch};

#[tokio::test]
async fn a_watch_replays_from_any_revision_one_line_each() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut written = Vec::new();
    for id in 0..300 {
        written.push(cluster.add(&format!("consumer_{id}")).await);
    }
    for from in [0, 150, 299] {
        let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
        let body = watch("/apisix/", "/apisix0", written[from]);
        let mut lines = http.stream("/v3/watch", &body).await;
        let created = lines.result().await;
        assert!(revision(&created) < written[from], "revisions on a stream only rise");
        for expected in &written[from..] {
            assert_eq!(revision(&lines.result().await), *expected);
        }
        assert!(lines.is_silent().await);
    }
}

#[tokio::test]
async fn a_watch_of_the_future_waits_and_one_of_now_skips_the_past() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let newest = cluster.add("ann").await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut future = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", newest + 2)).await;
    assert_eq!(revision(&future.result().await), newest);
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut now = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", 0)).await;
    assert_eq!(revision(&now.result().await), newest);

    cluster.add("bob").await;
    cluster.add("cid").await;
    assert_eq!(revision(&now.result().await), newest + 1);
    let told = future.result().await;
    assert_eq!(revision(&told), newest + 2);
    assert_eq!(plain(&told["events"][0]["kv"]["key"]), "/apisix/consumers/cid");
}

#[tokio::test]
async fn a_watch_of_forgotten_revisions_is_cancelled_with_the_oldest_kept() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut newest = cluster.add("ann").await;
    for number in 0..10 {
        newest = cluster.change("ann", number).await;
    }
    let oldest = newest - 3;
    cluster.compact(oldest).await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut lines = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", 1)).await;
    assert_eq!(lines.result().await["created"], true);
    let canceled = lines.result().await;
    assert_eq!(canceled["canceled"], true);
    assert_eq!(canceled["compact_revision"], oldest.to_string());
    assert!(canceled["header"].get("revision").is_none());
    assert_eq!(lines.next().await, None);

    // The revision it was told is one it can watch from.
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let mut lines = http.stream("/v3/watch", &watch("/apisix/", "/apisix0", oldest)).await;
    lines.result().await;
    assert_eq!(revision(&lines.result().await), oldest);
}

#[tokio::test]
async fn options_we_do_not_have_are_refused_by_name() {
    let gateways = Gateways::start().await;
    let cluster = gateways.cluster().await;
    let mut http = Http::connect(&gateways, Some(&cluster.bundle)).await.unwrap();
    let answer =
        http.post("/v3/watch", &json!({"create_request": {"key": "YQ==", "prev_kv": true}})).await;
    assert_eq!(answer.status, http::StatusCode::NOT_IMPLEMENTED);
    assert!(answer.body["error"].as_str().unwrap().contains("`prev_kv`"));
    for body in [json!({}), json!({"create_request": {}}), json!([])] {
        let answer = http.post("/v3/watch", &body).await;
        assert_eq!(answer.status, http::StatusCode::BAD_REQUEST, "{body}");
    }
}
