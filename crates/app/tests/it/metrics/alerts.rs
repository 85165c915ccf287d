//! Alerts are judged by the server that all control planes share, and as by the own store.

use gantry_app::{alert_policy, alerting};
use gantry_model::ErrorCode;
use gantry_model::alert_policy::BackTest;
use gantry_testkit::{Database, Prometheus, redis};
use serde_json::{Value, json};

use super::prometheus::{Remote, pass, plan};
use super::traffic::play;
use crate::alerting::{history, limit, policy};
use crate::harness::Bench;

fn status(event: &str, code: &str, operator: &str, value: i64, (span, unit): (i64, &str)) -> Value {
    json!({ "event": event, "operator": operator, "value": value, "event_config": {
        "http_status_code": code, "duration": span, "unit": unit } })
}

async fn back_test(bench: &Bench, name: &str, conditions: &Value, interval: i64) -> BackTest {
    let basics = json!({ "check_interval": interval });
    let id = policy(bench, name, "Any", conditions.clone(), basics).await;
    alerting::back_test(&bench.cx, bench.cluster(), id).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_server_gives_the_same_verdicts() {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path()).await;
    let (own, remote) =
        (Bench::new(Database::Sqlite).await, Remote::start(&prometheus.url("")).await);
    pass(&[&own, &remote.bench], &play(&plan()).reports).await;
    remote.until("all samples arrive", |state| state.waiting == 0).await;
    let number = "number_of_status_code";
    let ratio = "ratio_of_status_code";
    let offline =
        |value, unit| json!([limit("gateway_instance_offline", "larger_equal", value, unit)]);
    let cases = [
        (60, json!([status(number, "5xx", "larger_equal", 1, (5, "minute"))])),
        (60, json!([status(number, "4xx", "larger_than", 90, (5, "minute"))])),
        (60, json!([status(number, "200", "larger_than", 20, (1, "minute"))])),
        (60, json!([status(number, "200", "larger_equal", 30, (50, "second"))])),
        (60, json!([status(number, "2xx", "less_equal", 2_000, (1, "hour"))])),
        (61, json!([status(number, "5xx", "larger_equal", 1, (90, "second"))])),
        (3600, json!([status(number, "404", "larger_equal", 1, (2, "hour"))])),
        (86_400, json!([status(number, "5xx", "larger_equal", 1, (1, "hour"))])),
        (60, json!([status(ratio, "502", "larger_than", 20, (5, "minute"))])),
        (
            60,
            json!([
                status(ratio, "404", "larger_than", 25, (2, "minute")),
                status(number, "201", "larger_than", 180, (10, "minute")),
            ]),
        ),
        (60, offline(1, "minute")),
        (60, offline(4, "minute")),
        (900, offline(10, "minute")),
    ];
    // A whole quarter of a minute, where values stand, and then some moments between.
    let mut name = 0;
    for turn in [4, 3, 20] {
        own.config.clock.turn(turn);
        remote.bench.config.clock.turn(turn);
        for (interval, conditions) in &cases {
            name += 1;
            let name = format!("policy {name}");
            let expected = back_test(&own, &name, conditions, *interval).await;
            let found = back_test(&remote.bench, &name, conditions, *interval).await;
            assert_eq!(found, expected, "{interval} {conditions}");
            assert!(expected.fired > 0 || *interval > 61, "it says something: {conditions}");
        }
    }
    remote.stop().await;
}

/// Its own store is no help either: the first server has it in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_no_gateway_reports_to_tells_alerts() {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path()).await;
    let remote = Remote::start(&prometheus.url("")).await;
    pass(&[&remote.bench], &play(&plan()).reports).await;
    remote.until("all samples arrive", |state| state.waiting == 0).await;
    let bench = &remote.bench;
    let storm = json!([status("number_of_status_code", "5xx", "larger_equal", 50, (10, "minute"))]);
    // Nobody would be told, which stands in the history too.
    let id = policy(bench, "storm", "All", storm, json!({ "emails": ["ops@example.com"] })).await;
    alert_policy::set_disabled(&bench.cx, bench.cluster(), id, Some(false)).await.unwrap();
    let second = bench.another().await;
    alerting::check_due(&second).await.unwrap();
    assert_eq!(history(&bench.cx, bench.cluster()).await.len(), 1);
    remote.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_asked_for_where_conditions_look_at_them() {
    let remote = Remote::start(&format!("http://{}", redis::free_port())).await;
    let bench = &remote.bench;
    let join = limit("control_plane_certificate_will_expire_in", "less_equal", 398, "day");
    assert_eq!(back_test(bench, "join", &json!([join]), 60).await.fired, 0);
    let offline = limit("gateway_instance_offline", "larger_equal", 1, "minute");
    let id = policy(bench, "offline", "All", json!([offline]), json!({})).await;
    let failed = alerting::back_test(&bench.cx, bench.cluster(), id).await.unwrap_err();
    assert_eq!(failed.code, ErrorCode::Internal);
    remote.stop().await;
}
