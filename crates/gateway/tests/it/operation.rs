//! What operators look at: readiness, status, the access log.

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Rig, route};

#[tokio::test]
async fn readiness_and_status_say_what_is_in_force() {
    let origin = Origin::start("one").await;
    let broken = json!({"uri": "/b", "plugins": {"file-logger": {}}});
    let rig = Rig::start(&[("routes/1", route("/a", origin.address)), ("routes/2", broken)]).await;
    rig.gateway.echo("/a").await;
    let (code, ready) = rig.gateway.status("/ready").await;
    let ready: Value = serde_json::from_str(&ready).unwrap();
    assert_eq!((code, &ready["ready"], &ready["problems"]), (200, &json!(true), &json!(1)));
    // Counted when the answer is out, so not always before the client has it.
    rig.gateway.until(|state| state["requests"] == json!(1)).await;
    rig.gateway.until(|state| state["source_reachable"] == json!(true)).await;
    let state = rig.gateway.state().await;
    assert_eq!((&ready["revision"], &ready["digest"]), (&state["revision"], &state["digest"]));
    assert!(ready["configuration_age_seconds"].is_u64() && state["uptime_seconds"].is_u64());
    assert_eq!(state["problems"][0]["key"], "/apisix/routes/2");
    assert!(state["connections"]["accepted"].as_u64() >= Some(1), "{state}");
    assert_eq!(state["source_problem"], Value::Null);
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_and_follows_rotation() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a", origin.address))]).await;
    let sent = |count: u64| {
        rig.gateway.until(move |state| state["log_entries"]["access-log"]["sent"] == json!(count))
    };
    rig.gateway.echo("/a?b=1").await;
    sent(1).await;
    let path = rig.directory.path().join("access.log");
    let moved = rig.directory.path().join("access.log.1");
    std::fs::rename(&path, &moved).unwrap();
    rig.gateway.fetch("/nowhere").await;
    sent(2).await;
    let read = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        serde_json::from_str::<Value>(text.strip_suffix('\n').unwrap()).unwrap()
    };
    let (first, second) = (read(moved), read(path));
    for (name, value) in [
        ("remote_addr", json!("127.0.0.1")),
        ("method", json!("GET")),
        ("scheme", json!("http")),
        ("host", json!("localhost")),
        ("request_uri", json!("/a?b=1")),
        ("server_protocol", json!("HTTP/1.1")),
        ("status", json!(200)),
        ("upstream_addr", json!(origin.address.to_string())),
        ("upstream_status", json!("200")),
        ("route_id", json!("1")),
    ] {
        assert_eq!(first[name], value, "{name}");
    }
    for name in ["request_length", "bytes_sent", "body_bytes_sent"] {
        assert!(first[name].as_u64().is_some_and(|bytes| bytes > 0), "{name}");
    }
    assert!(first["request_time"].is_number() && first["time_iso8601"].is_string());
    assert_eq!((&second["status"], second.get("route_id")), (&json!(404), None));
}

#[tokio::test]
async fn metrics_hide_labels_and_come_packed_if_asked_for() {
    let origin = Origin::start("one").await;
    let mut counted = route("/a", origin.address);
    counted["plugins"] = json!({"prometheus": {}});
    let public = json!({"uri": "/metrics", "plugins": {
        "public-api": {"uri": "/apisix/prometheus/metrics"}}});
    let metadata = json!({"disabled_labels": {"http_status": ["node", "request_type"]}});
    let rig = Rig::start(&[
        ("plugin_metadata/prometheus", metadata),
        ("routes/1", counted),
        ("routes/2", public),
    ])
    .await;
    rig.gateway.echo("/a").await;
    // The line is written after the plugins have seen the end of the request.
    rig.gateway.until(|state| state["log_entries"]["access-log"]["sent"] == json!(1)).await;
    let line = "apisix_http_status{code=\"200\",route=\"1\",matched_uri=\"/a\",matched_host=\"\",\
        service=\"\",consumer=\"\",node=\"\",request_type=\"\",request_llm_model=\"\",llm_model=\"\",\
        response_source=\"upstream\"} 1\n";
    let counted = |text: &str| text.contains(line);
    let (_, plain) = rig.gateway.status("/apisix/prometheus/metrics").await;
    assert!(counted(&plain), "{plain}");
    for name in [
        "apisix_etcd_reachable",
        "apisix_etcd_modify_indexes{key=\"max_modify_index\"}",
        "apisix_http_requests_total",
        "apisix_nginx_http_current_connections{state=\"active\"}",
        "apisix_node_info{hostname=",
        "apisix_log_entries_total{plugin=\"access-log\",outcome=\"sent\"}",
    ] {
        assert!(plain.contains(&format!("\n{name}")), "{name}\nis not in\n{plain}");
    }
    let mut stream = TcpStream::connect(rig.gateway.bound.status.unwrap()).await.unwrap();
    let request = "GET /apisix/prometheus/metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
        Accept-Encoding: deflate, gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    assert!(head.contains("\r\ncontent-encoding: gzip\r\n"), "{head}");
    let mut unpacked = String::new();
    let mut decoder = flate2::read::GzDecoder::new(&answer[end..]);
    std::io::Read::read_to_string(&mut decoder, &mut unpacked).unwrap();
    assert!(counted(&unpacked), "{unpacked}");
    let (status, public) = rig.gateway.fetch("/metrics").await;
    assert!(status == 200 && counted(&public) && public.contains("\napisix_node_info"), "{public}");
}
