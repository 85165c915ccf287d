//! Loggers from end to end: what a request leaves at real receivers.

use std::{sync::Arc, time::Duration};

use gantry_testkit::Origin;
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, UdpSocket},
};

use crate::{
    harness::{Rig, local},
    receivers::{collector, logged},
};

/// What arrives on one connection until its end.
async fn message(listener: &TcpListener) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

#[tokio::test]
async fn http_logger_posts_the_full_record() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({
        "uri": format!("http://{address}/logs?x=1"), "auth_header": "Basic abc", "batch_max_size": 1,
        "include_req_body": true, "include_resp_body": true, "max_req_body_bytes": 3,
    });
    let rig = Rig::start(&[("routes/1", logged(origin.address, "http-logger", &config))]).await;
    let request = rig.gateway.client.post(rig.gateway.url("/a%62?b=1&b=2&c&d=%20"));
    let response = request.header("X-Two", "1").header("X-Two", "2").body("hello").send().await;
    let body = response.unwrap().text().await.unwrap();
    let (head, entry) = received.recv().await.unwrap();
    assert!(head.starts_with("post /logs?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("\r\nauthorization: basic abc"), "{head}");
    assert!(head.contains("\r\ncontent-type: application/json"), "{head}");
    let entry: Value = serde_json::from_str(&entry).unwrap();
    let port = rig.gateway.bound.http.unwrap().port();
    let request = &entry["request"];
    assert_eq!(request["url"], format!("http://127.0.0.1:{port}/ab?b=1&b=2&c&d=%20"));
    assert_eq!(request["uri"], "/ab?b=1&b=2&c&d=%20");
    assert_eq!(request["method"], "POST");
    assert_eq!(request["querystring"], json!({"b": ["1", "2"], "c": true, "d": " "}));
    assert_eq!(request["headers"]["x-two"], json!(["1", "2"]));
    assert_eq!(request["body"], "hel");
    assert!(request["size"].as_u64().unwrap() > 50);
    let response = &entry["response"];
    assert_eq!(response["status"], 200);
    assert!(response["headers"]["server"].as_str().unwrap().starts_with("Gantry/"));
    assert_eq!(response["body"], body);
    assert!(response["size"].as_u64().unwrap() > body.len() as u64);
    assert_eq!(entry["route_id"], "1");
    assert_eq!(entry["service_id"], "");
    assert_eq!(entry["client_ip"], "127.0.0.1");
    assert_eq!(entry["upstream"], origin.address.to_string());
    assert_eq!(entry["server"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(entry["start_time"].as_u64().unwrap() > 1_600_000_000_000);
    let number = |key: &str| entry[key].as_f64().unwrap();
    let own = number("latency") - number("upstream_latency");
    assert!((number("apisix_latency") - own.max(0.0)).abs() < 0.01, "{entry}");
    assert_eq!(entry.get("consumer"), None);
}

#[tokio::test]
async fn formats_can_tell_of_connecting_and_of_limits() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"uri": format!("http://{address}/"), "batch_max_size": 1, "log_format": {
        "connect": "$upstream_connect_time", "limit": "$rate_limiting_info"}});
    let mut route = logged(origin.address, "http-logger", &config);
    route["plugins"]["limit-count"] = json!({"count": 2, "time_window": 3600, "key": "http_x_id"});
    // The dead node is asked first.
    let node = |port: u16, priority: i32| json!({"host": "127.0.0.1", "port": port, "weight": 1, "priority": priority});
    route["upstream"] =
        json!({"nodes": [node(1, 1), node(origin.address.port(), 0)], "retries": 1});
    let rig = Rig::start(&[("routes/1", route)]).await;
    for (connects, remaining) in [(true, 1), (true, 0), (false, 0)] {
        let request = rig.gateway.client.get(rig.gateway.url("/a")).header("x-id", "jack");
        let status = request.send().await.unwrap().status().as_u16();
        assert_eq!(status, if connects { 200 } else { 503 });
        let (_, entry) = received.recv().await.unwrap();
        let entry: Value = serde_json::from_str(&entry).unwrap();
        let times = entry["connect"].as_str().map(|text| text.split(", ").collect::<Vec<_>>());
        match times.as_deref() {
            Some(["-", time]) => {
                let (seconds, decimals) = time.split_once('.').unwrap();
                assert!(
                    connects && seconds.parse::<u32>().is_ok() && decimals.len() == 3,
                    "{time}"
                );
            }
            other => assert!(!connects && other.is_none(), "{other:?}"),
        }
        let limit: Value = serde_json::from_str(entry["limit"].as_str().unwrap()).unwrap();
        let key = limit["rate_limiting_key"].as_str().unwrap();
        assert!(key.starts_with("/apisix/routes/1:") && key.ends_with(":jack"), "{key}");
        assert_eq!(limit["rate_limiting_remaining"], remaining, "{limit}");
    }
}

#[tokio::test]
async fn batches_are_arrays_or_lines_and_are_repeated_after_a_failure() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![500]).await;
    let uri = format!("http://{address}/");
    let config = json!({"uri": uri, "batch_max_size": 2, "max_retry_count": 1, "retry_delay": 0,
        "log_format": {"path": "$uri", "status": "$status", "kind": "access",
            "scheme": "$upstream_scheme", "to": "$upstream_host",
            "in": {"host": "$host", "nobody": "$arg_x"}}});
    let lines = json!({"uri": uri, "batch_max_size": 2, "concat_method": "new_line",
        "log_format": {"path": "$uri"}});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "http-logger", &config))]).await;
    rig.gateway.echo("/1").await;
    rig.gateway.echo("/2").await;
    let (_, first) = received.recv().await.unwrap();
    let (_, again) = received.recv().await.unwrap();
    assert_eq!(first, again);
    let entry = |path: &str| {
        json!({"path": path, "status": 200, "kind": "access", "in": {"host": "localhost"},
            "scheme": "http", "to": "localhost", "route_id": "1"})
    };
    let batch: Value = serde_json::from_str(&again).unwrap();
    assert_eq!(batch, json!([entry("/1"), entry("/2")]));
    rig.put("routes/1", &logged(origin.address, "http-logger", &lines)).await;
    rig.gateway.echo("/3").await;
    rig.gateway.echo("/4").await;
    let (head, batch) = received.recv().await.unwrap();
    assert!(head.contains("\r\ncontent-type: text/plain"), "{head}");
    let line = |path: &str| format!("{{\"path\":\"{path}\",\"route_id\":\"1\"}}");
    assert_eq!(batch, format!("{}\n{}", line("/3"), line("/4")));
    rig.gateway.until(|state| state["log_entries"]["http-logger"]["sent"] == json!(4)).await;
    let (_, metrics) = rig.gateway.status("/apisix/prometheus/metrics").await;
    let line = "apisix_log_entries_total{plugin=\"http-logger\",outcome=\"sent\"} 4";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn without_a_route_global_loggers_say_so() {
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"uri": format!("http://{address}/"), "batch_max_size": 1});
    let rule = json!({"plugins": {"http-logger": config}});
    let metadata = json!({"log_format_extra": {"who": "$remote_addr", "client_ip": "kept"}});
    let rig =
        Rig::start(&[("plugin_metadata/http-logger", metadata), ("global_rules/1", rule)]).await;
    assert_eq!(rig.gateway.get("A.com", "/nowhere").await.status(), 404);
    let entry: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
    assert_eq!(entry["route_id"], "no-matched");
    assert_eq!(entry["service_id"], "a.com");
    assert_eq!(entry["response"]["status"], 404);
    assert_eq!(entry["who"], "127.0.0.1");
    assert_eq!(entry["client_ip"], "127.0.0.1");
    assert_eq!(entry.get("upstream_latency"), None);
    assert_eq!(entry["apisix_latency"], entry["latency"]);
}

#[tokio::test]
async fn a_loggers_own_format_goes_before_that_of_the_metadata() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let metadata = json!({"log_format": {"by": "metadata", "user": "$http_x_user"}});
    let config = |own: Option<Value>| {
        let mut config = json!({"uri": format!("http://{address}/"), "batch_max_size": 1.0});
        config["log_format"] = own.unwrap_or_default();
        config.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        logged(origin.address, "http-logger", &config)
    };
    let rig = Rig::start(&[("plugin_metadata/http-logger", metadata)]).await;
    for (own, expected) in [
        (None, json!({"by": "metadata", "user": "José", "route_id": "1"})),
        (Some(json!({"by": "route"})), json!({"by": "route", "route_id": "1"})),
        (Some(json!({})), json!({"route_id": "1"})),
    ] {
        rig.put("routes/1", &config(own)).await;
        let request = rig.gateway.client.get(rig.gateway.url("/")).header("X-User", "José");
        assert_eq!(request.send().await.unwrap().status(), 200);
        let entry: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
        assert_eq!(entry, expected);
    }
}

#[tokio::test]
async fn the_record_says_who_it_was() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"uri": format!("http://{address}/"), "batch_max_size": 1});
    let mut route = logged(origin.address, "http-logger", &config);
    route["plugins"]["key-auth"] = json!({});
    let jack = json!({"username": "jack", "plugins": {"key-auth": {"key": "k"}}});
    let rig = Rig::start(&[("consumers/jack", jack), ("routes/1", route)]).await;
    for (key, status, consumer) in
        [("k", 200, json!({"username": "jack"})), ("wrong", 401, Value::Null)]
    {
        let request = rig.gateway.client.get(rig.gateway.url("/")).header("apikey", key);
        assert_eq!(request.send().await.unwrap().status(), status);
        let entry: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
        assert_eq!((&entry["consumer"], &entry["response"]["status"]), (&consumer, &json!(status)));
    }
}

#[tokio::test]
async fn bodies_are_shown_when_their_expressions_hold() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({
        "uri": format!("http://{address}/"), "batch_max_size": 1,
        "log_format": {"in": "$request_body", "out": "$resp_body"},
        "include_resp_body": true, "max_resp_body_bytes": 2,
        "include_req_body_expr": [["http_x_body", "==", "in"]],
        "include_resp_body_expr": [["http_x_body", "==", "out"]],
    });
    let rig = Rig::start(&[("routes/1", logged(origin.address, "http-logger", &config))]).await;
    for (which, expected) in [
        ("in", json!({"in": "hello", "route_id": "1"})),
        ("out", json!({"out": "{\"", "route_id": "1"})),
        ("none", json!({"route_id": "1"})),
    ] {
        let request = rig.gateway.client.post(rig.gateway.url("/")).header("X-Body", which);
        let response = request.body("hello").send().await.unwrap();
        assert!(response.text().await.unwrap().starts_with("{\""));
        let entry: Value = serde_json::from_str(&received.recv().await.unwrap().1).unwrap();
        assert_eq!(entry, expected);
    }
}

#[tokio::test]
async fn tcp_and_udp_loggers_send_documents() {
    let origin = Origin::start("one").await;
    let listener = TcpListener::bind(local()).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = json!({"host": "127.0.0.1", "port": port, "batch_max_size": 2,
        "log_format": {"path": "$uri"}});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "tcp-logger", &config))]).await;
    rig.gateway.echo("/1").await;
    rig.gateway.echo("/2").await;
    let batch = r#"[{"path":"/1","route_id":"1"},{"path":"/2","route_id":"1"}]"#;
    assert_eq!(message(&listener).await, batch);
    let socket = UdpSocket::bind(local()).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let config = json!({"host": "127.0.0.1", "port": port, "batch_max_size": 1,
        "log_format": {"path": "$uri"}});
    rig.put("routes/1", &logged(origin.address, "udp-logger", &config)).await;
    rig.gateway.echo("/3").await;
    let mut datagram = [0; 1000];
    let (length, _) = socket.recv_from(&mut datagram).await.unwrap();
    assert_eq!(&datagram[..length], br#"{"path":"/3","route_id":"1"}"#);
}

#[tokio::test]
async fn tcp_logger_speaks_tls_and_takes_any_certificate() {
    let origin = Origin::start("one").await;
    let listener = TcpListener::bind(local()).await.unwrap();
    let pair = rcgen::generate_simple_self_signed(["logs.example".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::Pkcs8(pair.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.der().clone()], key)
        .unwrap();
    let port = listener.local_addr().unwrap().port();
    let plugin = json!({"host": "127.0.0.1", "port": port, "tls": true,
        "tls_options": "logs.example", "batch_max_size": 1, "log_format": {"path": "$uri"}});
    let rig = Rig::start(&[("routes/1", logged(origin.address, "tcp-logger", &plugin))]).await;
    rig.gateway.echo("/1").await;
    let (stream, _) = listener.accept().await.unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let mut stream = acceptor.accept(stream).await.unwrap();
    assert_eq!(stream.get_ref().1.server_name(), Some("logs.example"));
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, r#"{"path":"/1","route_id":"1"}"#);
}

#[tokio::test]
async fn syslog_sends_messages_of_rfc_5424() {
    let origin = Origin::start("one").await;
    let listener = TcpListener::bind(local()).await.unwrap();
    let socket = UdpSocket::bind(local()).await.unwrap();
    let config = |port: u16, kind: &str| {
        json!({"host": "127.0.0.1", "port": port, "sock_type": kind, "batch_max_size": 2,
            "log_format": {"path": "$uri"}})
    };
    let tcp = config(listener.local_addr().unwrap().port(), "tcp");
    let rig = Rig::start(&[("routes/1", logged(origin.address, "syslog", &tcp))]).await;
    rig.gateway.echo("/1").await;
    rig.gateway.echo("/2").await;
    let text = message(&listener).await;
    let lines: Vec<&str> = text.lines().collect();
    assert!(text.ends_with('\n') && lines.len() == 2, "{text}");
    let parts: Vec<&str> = lines[0].splitn(8, ' ').collect();
    let [priority, time, _host, name, process, "-", "-", entry] = parts[..] else {
        panic!("{text}")
    };
    assert_eq!((priority, name), ("<46>1", "apisix"));
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(process, std::process::id().to_string());
    assert_eq!(entry, r#"{"path":"/1","route_id":"1"}"#);
    let udp = config(socket.local_addr().unwrap().port(), "udp");
    rig.put("routes/1", &logged(origin.address, "syslog", &udp)).await;
    rig.gateway.echo("/3").await;
    rig.gateway.echo("/4").await;
    let mut datagram = [0; 1000];
    for path in ["/3", "/4"] {
        let (length, _) = socket.recv_from(&mut datagram).await.unwrap();
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        assert!(text.ends_with(&format!("{{\"path\":\"{path}\",\"route_id\":\"1\"}}\n")), "{text}");
    }
}

#[tokio::test]
async fn file_logger_appends_what_matches_and_follows_rotation() {
    let origin = Origin::start("one").await;
    let directory = tempfile::tempdir().unwrap();
    let (path, moved) = (directory.path().join("a.log"), directory.path().join("b.log"));
    let config = json!({"match": [[["arg_x", "==", "1"]], [["arg_x", "==", "2"]]],
        "log_format": {"x": "$arg_x"}});
    let metadata = json!({"path": path});
    let rig = Rig::start(&[
        ("plugin_metadata/file-logger", metadata),
        ("routes/1", logged(origin.address, "file-logger", &config)),
    ])
    .await;
    let sent = |count: u64| {
        rig.gateway.until(move |state| state["log_entries"]["file-logger"]["sent"] == json!(count))
    };
    for x in [1, 2, 3] {
        rig.gateway.echo(&format!("/?x={x}")).await;
    }
    sent(2).await;
    std::fs::rename(&path, &moved).unwrap();
    rig.gateway.echo("/?x=1").await;
    sent(3).await;
    let line = |x: &str| format!("{{\"route_id\":\"1\",\"x\":\"{x}\"}}\n");
    assert_eq!(std::fs::read_to_string(moved).unwrap(), line("1") + &line("2"));
    assert_eq!(std::fs::read_to_string(path).unwrap(), line("1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_that_wait_are_sent_at_the_end() {
    let origin = Origin::start("one").await;
    let (address, mut received) = collector(vec![]).await;
    let config = json!({"uri": format!("http://{address}/"), "log_format": {"path": "$uri"}});
    let Rig { gateway, directory, .. } =
        Rig::start(&[("routes/1", logged(origin.address, "http-logger", &config))]).await;
    gateway.echo("/last").await;
    tokio::task::spawn_blocking(move || gateway.stop()).await.unwrap();
    let waited = tokio::time::timeout(Duration::ZERO, received.recv()).await;
    assert_eq!(waited.unwrap().unwrap().1, r#"[{"path":"/last","route_id":"1"}]"#);
    drop(directory);
}

#[tokio::test]
async fn what_a_logger_cannot_do_is_reported() {
    let origin = Origin::start("one").await;
    let deep = json!({"a": {"b": {"c": {"d": {"e": {"f": "$uri"}}}}}});
    for (name, config, reason) in [
        ("file-logger", json!({}), "a path must be set here or in the plugin's metadata"),
        (
            "syslog",
            json!({"host": "a", "port": 1, "tls": true, "sock_type": "udp"}),
            "sock_type tcp",
        ),
        ("udp-logger", json!({"host": "a", "port": 1, "log_format": deep}), "up to 5 levels"),
        (
            "tcp-logger",
            json!({"host": "a", "port": 1, "include_req_body_expr": [["a", "?", 1]]}),
            "`?` is not an operator",
        ),
    ] {
        let rig = Rig::start(&[("routes/1", logged(origin.address, name, &config))]).await;
        let problems = rig.gateway.state().await["problems"].to_string();
        assert!(problems.contains(reason), "{problems}");
        rig.gateway.echo("/").await;
    }
}
