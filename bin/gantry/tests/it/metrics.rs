//! Requests that a gateway has served show up in the metrics of its cluster.

use std::time::{Duration, SystemTime};

use gantry_testkit::{Database, Origin};
use reqwest::Method;
use serde_json::Value;

use crate::harness::{Gateway, Installation, api, application, eventually, text};

#[tokio::test]
async fn traffic_is_seen_through_restarts_on_sqlite() {
    watch(Database::Sqlite).await;
}

#[tokio::test]
async fn traffic_is_seen_through_restarts_on_postgres() {
    watch(Database::postgres()).await;
}

async fn watch(database: Database) {
    let origin = Origin::start("backend").await;
    let mut gantry = Installation::start(database).await;
    let mut gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    let open = gantry.api(&shop, api("open", "/open")).await;
    // Nobody listens on port 1.
    let dead = application("dead", "/dead", ([127, 0, 0, 1], 1).into());
    let dead = gantry.call(Method::POST, &gantry.cluster_path("/apps"), Some(dead)).await;
    let dead = text(&dead["id"]);
    gantry.api(&dead, api("broken", "/broken")).await;
    gateway.applied(gantry.revision().await).await;

    ask(&gateway, "/shop/open", 200, 7).await;
    ask(&gateway, "/dead/broken", 502, 3).await;
    counts(&gantry, "api-requests", "", 10.0).await;
    counts(&gantry, "api-requests", &format!("&api_id={open}"), 7.0).await;
    counts(&gantry, "api-failure-requests", &format!("&app_id={dead}"), 3.0).await;
    let codes = newest(&gantry, "api-status-dist", "").await;
    let codes: Vec<&str> = codes.iter().map(|(labels, _)| text_of(labels, "code")).collect();
    assert_eq!(codes, ["200", "502"]);
    for (kind, label, expected) in [
        ("api-latency", "type", &["apisix", "request", "upstream"][..]),
        ("api-bandwidth", "type", &["egress", "ingress"]),
        ("api-connections", "state", &["accepted", "active"]),
        ("api-qps", "class", &["2xx", "5xx"]),
    ] {
        let found = newest(&gantry, kind, "").await;
        let found: Vec<&str> = found.iter().map(|(labels, _)| text_of(labels, label)).collect();
        assert_eq!(found, expected, "{kind}");
    }

    // What was counted is still there when the server comes back …
    gantry.kill_server().await;
    gantry.start_server().await;
    counts(&gantry, "api-requests", "", 10.0).await;
    // … and a gateway that counts further in its second life than in its first is no surprise.
    gateway.kill().await;
    gateway.start().await;
    gateway.applied(gantry.revision().await).await;
    ask(&gateway, "/shop/open", 200, 9).await;
    counts(&gantry, "api-requests", "", 19.0).await;
}

async fn ask(gateway: &Gateway, path: &str, status: u16, times: usize) {
    for _ in 0..times {
        assert_eq!(gateway.get(path).await.status(), status);
    }
}

/// Polls until the newest minute has counted about this many; what is extrapolated beyond the newest
/// report becomes less the longer the series are.
async fn counts(gantry: &Installation, kind: &str, filter: &str, expected: f64) {
    eventually(&format!("{kind}{filter} is {expected}"), || async {
        let found = newest(gantry, kind, filter).await;
        matches!(found.as_slice(), [(_, value)] if (value - expected).abs() < 0.5)
    })
    .await;
}

/// Labels and newest value of each series.
async fn newest(gantry: &Installation, kind: &str, filter: &str) -> Vec<(Value, f64)> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let time = |time: Duration| {
        let seconds = i64::try_from(time.as_secs()).unwrap();
        gantry_model::Timestamp::from_seconds(seconds).to_string()
    };
    let (start, end) = (time(now - Duration::from_secs(59)), time(now + Duration::from_secs(1)));
    let path = format!("/metrics/{kind}?start={start}&end={end}&step=60{filter}");
    let found = gantry.call(Method::GET, &gantry.cluster_path(&path), None).await;
    let series = found["result"].as_array().unwrap().iter();
    series
        .map(|one| {
            let last = one["values"].as_array().and_then(|values| values.last()).unwrap();
            (one["metric"].clone(), text(&last[1]).parse().unwrap())
        })
        .collect()
}

fn text_of<'a>(labels: &'a Value, name: &str) -> &'a str {
    labels[name].as_str().unwrap()
}
