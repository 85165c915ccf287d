//! zipkin, opentelemetry and datadog: what goes to the upstream, and what to the collector.

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::net::UdpSocket;

use crate::{
    harness::{Rig, local, route},
    receivers::{collector, logged},
};

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

/// GETs a path with headers; the origin's description of the request.
async fn get(rig: &Rig, headers: &[(&str, &str)]) -> Value {
    let mut request = rig.gateway.client.get(rig.gateway.url("/a?b=1"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    response.json().await.unwrap()
}

/// A header as the origin has seen it.
fn seen<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    echo["headers"][name].as_str()
}

#[tokio::test]
async fn zipkin_reports_a_request_under_the_clients_trace() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"endpoint": format!("http://{address}/api/v2/spans"), "sample_ratio": 1,
        "service_name": "edge", "server_addr": "10.0.0.1"});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "zipkin", &config))]).await;
    let echo = get(&rig, &[("X-B3-TraceId", TRACE), ("X-B3-SpanId", SPAN)]).await;
    let (head, spans) = received.recv().await.unwrap();
    assert!(head.starts_with("post /api/v2/spans "), "{head}");
    let spans: Value = serde_json::from_str(&spans).unwrap();
    let [root, proxy, response] = &spans.as_array().unwrap()[..] else { panic!("{spans}") };
    assert_eq!((&root["traceId"], &root["parentId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&root["name"], &root["kind"]), (&json!("apisix.request"), &json!("SERVER")));
    let port = rig.gateway.bound.http.unwrap().port();
    let local = json!({"serviceName": "edge", "ipv4": "10.0.0.1", "port": port});
    assert_eq!(root["localEndpoint"], local);
    assert_eq!(root["remoteEndpoint"]["ipv4"], "127.0.0.1");
    assert_eq!(
        root["tags"],
        json!({"component": "apisix", "http.method": "GET", "http.url": "/a?b=1",
            "http.status_code": "200"})
    );
    assert_eq!((&proxy["name"], &proxy["kind"]), (&json!("apisix.proxy"), &json!("CLIENT")));
    assert_eq!(proxy["remoteEndpoint"]["port"], origin.address.port());
    assert_eq!(response["name"], "apisix.response_span");
    assert_eq!((&proxy["parentId"], &response["parentId"]), (&root["id"], &root["id"]));
    assert!(root["timestamp"].as_u64() > Some(1_600_000_000_000_000), "{root}");
    assert!(root["duration"].as_u64() >= proxy["duration"].as_u64());
    assert_eq!(seen(&echo, "x-b3-traceid"), Some(TRACE));
    assert_eq!(seen(&echo, "x-b3-spanid"), proxy["id"].as_str());
    assert_eq!(seen(&echo, "x-b3-parentspanid"), root["id"].as_str());
    assert_eq!(seen(&echo, "x-b3-sampled"), Some("1"));
}

#[tokio::test]
async fn zipkin_reads_the_short_form_and_refuses_what_it_cannot_read() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"endpoint": format!("http://{address}/"), "sample_ratio": 1e-5,
        "span_version": 1});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "zipkin", &config))]).await;
    for b3 in ["x", &format!("{TRACE}-1"), &format!("{TRACE}-{SPAN}-2"), "1-2-3-4-5"] {
        let request = rig.gateway.client.get(rig.gateway.url("/")).header("b3", b3);
        assert_eq!(request.send().await.unwrap().status(), 400, "{b3}");
    }
    let echo = get(&rig, &[("b3", "0")]).await;
    assert_eq!((seen(&echo, "b3"), seen(&echo, "x-b3-sampled")), (None, Some("0")));
    assert_eq!(seen(&echo, "x-b3-traceid").map(str::len), Some(32));
    let echo = get(&rig, &[("X-B3-Sampled", "false")]).await;
    assert_eq!(seen(&echo, "x-b3-sampled"), Some("0"));
    let echo = get(&rig, &[("b3", &format!("{TRACE}-{SPAN}-d-{SPAN}"))]).await;
    assert_eq!(seen(&echo, "x-b3-flags"), Some("1"));
    // Only the last one was to be sampled.
    let spans: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
    let spans = spans.as_array().unwrap();
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["apisix.request", "apisix.rewrite", "apisix.access", "apisix.proxy", "apisix.body_filter"]
    );
    assert_eq!((&spans[0]["traceId"], &spans[0]["debug"]), (&json!(TRACE), &json!(true)));
    assert!(spans.iter().skip(1).all(|span| span["parentId"] == spans[0]["id"]));
}

/// The attributes of a span by key.
fn attributes(described: &Value) -> Value {
    let attributes = described["attributes"].as_array().unwrap();
    let value =
        |attribute: &Value| attribute["value"].as_object().unwrap().values().next().cloned();
    attributes
        .iter()
        .map(|attribute| (attribute["key"].as_str().unwrap().to_owned(), value(attribute).unwrap()))
        .collect()
}

#[tokio::test]
async fn opentelemetry_exports_spans() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let metadata = json!({
        "collector": {"address": address.to_string(), "request_headers": {"X-Key": "k", "X-N": 1}},
        "resource": {"service.name": "edge", "replicas": 3},
        "batch_span_processor": {"inactive_timeout": 0.1}, "set_ngx_var": true,
    });
    let mut route = logged(
        origin.address,
        "opentelemetry",
        &json!({"sampler": {"name": "parent_base"}, "additional_attributes": ["arg_b", "arg_x"],
            "additional_header_prefix_attributes": ["X-My-*", "Accept"]}),
    );
    route["name"] = json!("the route");
    route["plugins"]["proxy-rewrite"] = json!({"headers": {"set": {
        "x-ids": "$opentelemetry_trace_id/$opentelemetry_span_id",
        "x-parent": "$opentelemetry_context_traceparent"}}});
    let rig = Rig::start(&[("plugin_metadata/opentelemetry", metadata), ("routes/1", route)]).await;
    let parent = format!("00-{TRACE}-{SPAN}-01");
    // Its root is `always_off`, so this one is not exported.
    let echo = get(&rig, &[]).await;
    assert!(seen(&echo, "traceparent").unwrap().ends_with("-00"));
    let headers =
        [("traceparent", &*parent), ("X-My-Tag", "t"), ("User-Agent", "test"), ("Accept", "a")];
    let echo = get(&rig, &headers).await;
    let (head, body) = received.recv().await.unwrap();
    assert!(head.starts_with("post /v1/traces "), "{head}");
    assert!(head.contains("\r\nx-key: k") && head.contains("\r\nx-n: 1"), "{head}");
    let body: Value = serde_json::from_str(&body).unwrap();
    let resource = attributes(&body["resourceSpans"][0]["resource"]);
    assert_eq!((&resource["service.name"], &resource["replicas"]), (&json!("edge"), &json!("3")));
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    let [span] = &spans[..] else { panic!("{body}") };
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&json!(TRACE), &json!(SPAN)));
    assert_eq!((&span["name"], &span["kind"]), (&json!("GET /*"), &json!(2)));
    let id = span["spanId"].as_str().unwrap();
    assert_eq!(seen(&echo, "traceparent"), Some(&*format!("00-{TRACE}-{id}-01")));
    assert_eq!(seen(&echo, "x-parent"), seen(&echo, "traceparent"));
    assert_eq!(seen(&echo, "x-ids"), Some(&*format!("{TRACE}/{id}")));
    let nanos = |key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("startTimeUnixNano") > 1_600_000_000_000_000_000);
    assert!(nanos("endTimeUnixNano") > nanos("startTimeUnixNano"));
    assert_eq!(span.get("status"), None);
    assert_eq!(
        attributes(span),
        json!({
            "net.host.name": "127.0.0.1", "http.method": "GET", "http.request.method": "GET",
            "http.scheme": "http", "url.scheme": "http", "http.target": "/a?b=1", "url.path": "/a",
            "http.user_agent": "test", "user_agent.original": "test", "apisix.route_id": "1",
            "apisix.route_name": "the route", "http.route": "/*", "arg_b": "1", "x-my-tag": "t",
            "accept": "a", "apisix.response_source": "upstream", "http.status_code": "200",
            "http.response.status_code": "200",
        })
    );
}

#[tokio::test]
async fn opentelemetry_tells_what_failed_and_takes_ids_of_requests() {
    let (address, mut received) = collector(vec![]).await;
    let metadata = json!({"collector": {"address": format!("http://{address}")},
        "trace_id_source": "x-request-id", "batch_span_processor": {"max_export_batch_size": 1}});
    let config = |name: &str, fraction: f64| json!({"sampler": {"name": name, "options": {"fraction": fraction}}});
    let broken = |name: &str, fraction: f64| json!({"uri": "/*", "plugins": {"opentelemetry": config(name, fraction)}});
    let rig = Rig::start(&[
        ("plugin_metadata/opentelemetry", metadata),
        ("routes/1", broken("trace_id_ratio", 0.2)),
    ])
    .await;
    for id in ["ffffffffffffffffffffffffffffffff", "ffffffffffffffff1000000000000000"] {
        let request = rig.gateway.client.get(rig.gateway.url("/")).header("X-Request-Id", id);
        assert_eq!(request.send().await.unwrap().status(), 503);
    }
    let body: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], "ffffffffffffffff1000000000000000");
    assert_eq!(span["status"], json!({"code": 2, "message": "apisix error: 503"}));
    rig.put("routes/1", &broken("always_on", 0.0)).await;
    assert_eq!(rig.gateway.fetch("/").await.0, 503);
    let body: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
    let span = &body["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn opentelemetry_without_metadata_does_nothing() {
    let origin = Origin::start("one").await;
    let config = json!({"sampler": {"name": "always_on"}});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "opentelemetry", &config))]).await;
    let echo = get(&rig, &[]).await;
    assert_eq!(seen(&echo, "traceparent"), None);
    assert_eq!(rig.gateway.state().await["problems"], json!([]));
    let metadata = json!({"batch_span_processor": {"drop_on_queue_full": false}});
    rig.put("plugin_metadata/opentelemetry", &metadata).await;
    assert!(seen(&get(&rig, &[]).await, "traceparent").is_some(), "with metadata it runs");
}

#[tokio::test]
async fn datadog_sends_its_metrics_with_tags() {
    let origin = Origin::start("one").await;
    let socket = UdpSocket::bind(local()).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut named = route("/a", origin.address);
    named["name"] = json!("the-route");
    named["plugins"] = json!({"datadog": {"batch_max_size": 1, "include_path": true,
        "include_method": true, "constant_tags": ["env:test"]}});
    let metadata = json!({"port": port, "namespace": "edge"});
    let rig = Rig::start(&[("plugin_metadata/datadog", metadata), ("routes/1", named)]).await;
    get(&rig, &[]).await;
    let tags = "|#source:apisix,env:test,route_name:the-route,balancer_ip:127.0.0.1,\
        response_status:200,response_status_class:2xx,scheme:http,path:/a,method:GET";
    let mut buffer = [0; 1000];
    for (name, kind) in [
        ("request.counter", "c"),
        ("request.latency", "h"),
        ("upstream.latency", "h"),
        ("apisix.latency", "h"),
        ("ingress.size", "ms"),
        ("egress.size", "ms"),
    ] {
        let (length, _) = socket.recv_from(&mut buffer).await.unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let value = text.strip_prefix(&format!("edge.{name}:")).expect(text);
        let value = value.strip_suffix(&format!("|{kind}{tags}")).expect(text);
        assert!(value.parse::<f64>().unwrap() >= 0.0, "{text}");
        assert!(name != "request.counter" || value == "1");
    }
}
