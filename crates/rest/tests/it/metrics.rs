//! Metrics of a cluster: what gateways report and what is answered about it.

use axum::Extension;
use gantry_app::App;
use gantry_app::gateway::{Identity, Via};
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, on_both_at};

const PATH: &str = "/api/v1/dp/metrics";
const RUNS: [&str; 2] =
    ["3f2b8c1e-5d1f-4a52-9a44-0d6c7e0f9b11", "7d1a0c52-9a44-4a52-8c1e-0f9b113f2b8c"];
/// 2027-01-15T08:00:00Z, a whole hour.
const START: i64 = 1_800_000_000;

/// The gateways' door for one cluster, and a client that keeps its connection.
struct Door {
    url: String,
    http: reqwest::Client,
}

/// Opens it as the etcd port does after the TLS handshake.
async fn door(app: &App, person: &Person) -> Door {
    let via = Via::Certificate { serial: "01".into() };
    let id = |text: &str| text.parse().unwrap();
    let identity = Identity { cluster: id(&person.cluster), org: id(&person.org), via };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = gantry_rest::dp_router(app.clone()).layer(Extension(identity));
    tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
    Door { url: format!("http://{address}{PATH}"), http: gantry_testkit::client() }
}

fn request(door: &Door, run: &str) -> reqwest::RequestBuilder {
    let request = door.http.post(&door.url).header("X-APISEVEN-Instance-Id", "gw-1");
    request.header("X-APISEVEN-Run-Id", run).header("Content-Type", "application/json")
}

async fn send(request: reqwest::RequestBuilder) -> Answer {
    let answer = Answer::read(request).await;
    gantry_testkit::contract::check_answer("POST", PATH, answer.status, &answer.body);
    answer
}

async fn report(door: &Door, instance: &str, run: &str, text: &str) -> Answer {
    let body = json!({ "id": instance, "domain": "", "metrics": text });
    send(
        request(door, run)
            .body(packed(body.to_string().as_bytes()))
            .header("Content-Encoding", "gzip"),
    )
    .await
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// What a gateway says after `rounds` of steady traffic: on API 101 of application 11, and if it is
/// the first gateway on API 102 of application 12, which fails.
fn scrape(is_first: bool, rounds: u64) -> String {
    let (good, missing, broken, active) = if is_first { (30, 3, 6, 5) } else { (15, 0, 0, 7) };
    let mut text = format!(
        "apisix_nginx_http_current_connections{{state=\"active\"}} {active}\n\
         apisix_nginx_http_current_connections{{state=\"accepted\"}} {rounds}\n"
    );
    if rounds == 0 {
        return text;
    }
    for (code, count, labels) in [
        (200, good, "route=\"101\",service=\"11\""),
        (404, missing, "route=\"101\",service=\"11\""),
        (500, broken, "route=\"102\",service=\"12\""),
    ] {
        let count = count * rounds;
        // A request takes 40 ms, of which 30 are the backend's.
        let (all, behind, bytes) = (count * 40, count * 30, count * 100);
        text += &format!(
            "apisix_http_status{{code=\"{code}\",{labels},consumer=\"\"}} {count}\n\
             apisix_http_latency_sum{{type=\"request\",code=\"{code}\",{labels}}} {all}\n\
             apisix_http_latency_count{{type=\"request\",code=\"{code}\",{labels}}} {count}\n\
             apisix_http_latency_sum{{type=\"upstream\",code=\"{code}\",{labels}}} {behind}\n\
             apisix_http_latency_count{{type=\"upstream\",code=\"{code}\",{labels}}} {count}\n\
             apisix_bandwidth{{type=\"ingress\",code=\"{code}\",{labels}}} {bytes}\n"
        );
    }
    text
}

/// An hour of two gateways, reported every 15 seconds; the first restarts after half of it.
async fn hour(server: &Server, door: &Door) {
    for round in 0..=240 {
        let (run, since) = if round <= 120 { (RUNS[0], round) } else { (RUNS[1], round - 120) };
        report(door, "gw-1", run, &scrape(true, since)).await.ok();
        report(door, "gw-2", RUNS[0], &scrape(false, round)).await.ok();
        server.clock.turn(15);
    }
}

fn time(seconds: i64) -> String {
    gantry_model::Timestamp::from_seconds(START + seconds).to_string()
}

async fn ask(person: &Person, kind: &str, filter: &str) -> Value {
    let (start, end) = (time(600), time(3600));
    let path = format!("/metrics/{kind}?start={start}&end={end}&step=600{filter}");
    let answer = person.get(&person.in_cluster(&path)).await;
    assert_eq!(answer.ok()["resultType"], "matrix");
    answer.ok()["result"].clone()
}

/// Each series with its labels has the same value in each of the six ten minutes.
#[track_caller]
fn steady(found: &Value, expected: &[(Value, f64)]) {
    let series = found.as_array().unwrap();
    assert_eq!(series.len(), expected.len(), "{found:#}");
    for (one, (labels, value)) in series.iter().zip(expected) {
        assert_eq!(one["metric"], *labels);
        let points = one["values"].as_array().unwrap();
        assert_eq!(points.len(), 6, "{one:#}");
        for (number, point) in points.iter().enumerate() {
            assert_eq!(point[0], START + 600 + 600 * i64::try_from(number).unwrap());
            let found: f64 = point[1].as_str().unwrap().parse().unwrap();
            assert!((found - value).abs() < 1e-6 * value, "{labels}, point {number}: {found}");
        }
    }
}

#[tokio::test]
async fn an_hour_of_traffic_is_answered_in_every_type() {
    on_both_at(START, |server| async move {
        let owner = &server.owner;
        let door = door(&server.app, owner).await;
        hour(&server, &door).await;
        let by = |name: &str, value: &str| json!({ name: value });
        let none = || json!({});
        steady(&ask(owner, "api-requests", "").await, &[(none(), 54.0 * 40.0)]);
        steady(&ask(owner, "api-failure-requests", "").await, &[(none(), 9.0 * 40.0)]);
        steady(
            &ask(owner, "api-status-dist", "").await,
            &[(by("code", "200"), 1800.0), (by("code", "404"), 120.0), (by("code", "500"), 240.0)],
        );
        steady(
            &ask(owner, "api-qps", "").await,
            &[(by("class", "2xx"), 3.0), (by("class", "4xx"), 0.2), (by("class", "5xx"), 0.4)],
        );
        steady(
            &ask(owner, "api-latency", "").await,
            &[(by("type", "request"), 40.0), (by("type", "upstream"), 30.0)],
        );
        steady(&ask(owner, "api-bandwidth", "").await, &[(by("type", "ingress"), 360.0)]);
        let connections = ask(owner, "api-connections", "&app_id=12").await;
        assert_eq!(connections[1]["metric"], by("state", "active"));
        steady(&json!([connections[1]]), &[(by("state", "active"), 12.0)]);
        for (filter, expected) in [
            ("&api_id=101", 48.0),
            ("&app_id=12", 6.0),
            ("&app_id=11&api_id=101&instance_id=gw-2", 15.0),
            ("&instance_id=gw-1", 39.0),
            ("&instance_id=", 54.0),
        ] {
            let found = ask(owner, "api-requests", filter).await;
            steady(&found, &[(none(), expected * 40.0)]);
        }
        assert_eq!(ask(owner, "api-requests", "&api_id=10").await, json!([]));
        assert_eq!(ask(&server.stranger, "api-requests", "").await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn ranges_that_cannot_be_answered_are_refused_with_every_rule() {
    on_both_at(START, |server| async move {
        let owner = &server.owner;
        for (start, end, step, expected) in [
            (0, 3600, "0", &["`step` must be at least 1 second"][..]),
            (3600, 3600, "-1", &["`end` must be after `start`", "`step` must"]),
            (0, 11_000, "1", &["`step` is too short", "at most 11000 points", "for example 2"]),
        ] {
            let path =
                format!("/metrics/api-qps?start={}&end={}&step={step}", time(start), time(end));
            let answer = owner.get(&owner.in_cluster(&path)).await;
            let message = answer.refused(400, 2);
            for part in expected {
                assert!(message.contains(part), "{message}");
            }
        }
        let path = format!("/metrics/api-qps?start={}&end={}&step=1", time(0), time(10_999));
        owner.get(&owner.in_cluster(&path)).await.ok();
        let missing = owner.get(&owner.in_cluster("/metrics/api-qps?start=yesterday")).await;
        for part in ["`start`", "`end`", "`step`"] {
            assert!(missing.refused(400, 2).contains(part), "{missing:?}");
        }
        owner.get(&owner.in_cluster("/metrics/api-cost?step=1")).await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn reports_are_checked_and_what_is_left_out_is_said() {
    on_both_at(START, |server| async move {
        let door = door(&server.app, &server.owner).await;
        let odd = "apisix_http_status{code=\"200\"} one\nup 1\napisix_bandwidth{a=\"b\"} 1";
        let answer = report(&door, "gw-1", RUNS[0], odd).await;
        assert_eq!(answer.body["warning"], "left out: 1 lines are not Prometheus text");
        let long = "x".repeat(2 * 1024 * 1024 + 1);
        let answer = report(&door, "", RUNS[0], &long).await;
        let message = answer.refused(400, 2);
        assert!(message.contains("`id` must be 1 to 256") && message.contains("`metrics`"));

        let plain = json!({ "id": "gw-1", "metrics": "" }).to_string();
        send(request(&door, RUNS[0]).body(plain.clone())).await.ok();
        let zipped =
            |body: Vec<u8>| request(&door, RUNS[0]).header("Content-Encoding", "gzip").body(body);
        send(zipped(plain.clone().into())).await.refused(400, 2);
        let mut cut = packed(plain.as_bytes());
        cut.truncate(cut.len() - 9);
        send(zipped(cut)).await.refused(400, 2);
        send(zipped(packed(&vec![b' '; 5 * 1024 * 1024]))).await.refused(413, 2);
        let other = request(&door, RUNS[0]).header("Content-Encoding", "br").body(plain);
        send(other).await.refused(415, 2);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_without_metrics_keeps_none_and_tells_its_gateways() {
    on_both_at(START, |server| async move {
        let owner = &server.owner;
        let door = door(&server.app, owner).await;
        let off = json!({ "observability_settings": { "metrics": { "enabled": false } } });
        for enabled in [true, false] {
            if !enabled {
                owner.patch(&owner.in_cluster("/config"), off.clone()).await.ok();
            }
            let url = door.url.replace("metrics", "instance/heartbeat");
            let beat = Door { url, http: door.http.clone() };
            let body = json!({ "id": "gw-1", "hostname": "host", "ip": "10.0.0.1" }).to_string();
            let answer = Answer::read(request(&beat, RUNS[0]).body(body)).await;
            assert_eq!(answer.ok()["metrics"]["enabled"], enabled);
            assert_eq!(answer.ok()["telemetry_collect_interval"], 15);
            assert_eq!(answer.ok()["max_metrics_size"], 2 * 1024 * 1024);
        }
        report(&door, "gw-1", RUNS[0], &scrape(true, 1)).await.ok();
        let path = format!("/metrics/api-connections?start={}&end={}&step=15", time(0), time(60));
        assert_eq!(owner.get(&owner.in_cluster(&path)).await.ok()["result"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_service_admin_is_told_about_the_own_applications() {
    on_both_at(START, |server| async move {
        let owner = &server.owner;
        let url = door(&server.app, owner).await;
        let (shop, other) = (owner.application("shop").await, owner.application("other").await);
        for round in 0..=240 {
            let line = |app: &str, count: u64| {
                let count = count * round;
                format!(
                    "apisix_http_status{{code=\"200\",route=\"1\",service=\"{app}\"}} {count}\n"
                )
            };
            let open = "apisix_nginx_http_current_connections{state=\"active\"} 5\n";
            let text = line(&shop, 3) + &line(&other, 7) + open;
            report(&url, "gw-1", RUNS[0], &text).await.ok();
            server.clock.turn(15);
        }
        let (bob, id) = server.member("bob@example.com", "Organization Viewer").await;
        steady(&ask(&bob, "api-requests", "").await, &[(json!({}), 10.0 * 40.0)]);
        owner.bind(&id, &[]).await;
        let items = json!({ "items": [{ "member_id": id }] });
        owner.post(&format!("/apps/{shop}/service_admins"), items).await.ok();
        steady(&ask(&bob, "api-requests", "").await, &[(json!({}), 3.0 * 40.0)]);
        assert_eq!(ask(&bob, "api-requests", &format!("&app_id={other}")).await, json!([]));
        assert_eq!(ask(&bob, "api-connections", "").await, json!([]));
    })
    .await;
}
