//! Heartbeats that come late, from elsewhere, or without end.

use gantry_app::heartbeat::{Beat, heartbeat};
use gantry_app::instance::{Noticed, connection_id};
use gantry_app::{App, feed, instance};
use gantry_model::ErrorCode;
use gantry_model::instance::{Instance, Source};
use gantry_testkit::database::Database;
use serde_json::{Value, json};

use crate::harness::{self, Bench, on_both_engines, parse};
use crate::receipt::{identity, newest};

on_both_engines! {
    a_report_that_was_overtaken_puts_nothing_back
    a_run_that_took_over_stays
    who_lacks_a_revision_is_told_now_and_then
    what_a_server_has_not_read_is_nobodys_fault
    a_gateway_is_not_noticed_twice
    there_are_only_so_many_instances
}

fn report(revision: i64, calls: i64) -> Value {
    json!({ "id": "gw-1", "hostname": "h", "ip": "127.0.1.1", "etcd_reachable": true,
            "config_version": revision, "api_calls_total": calls })
}

async fn beat(app: &App, bench: &Bench, run: &str, report: Value) -> bool {
    harness::beat(app, &identity(bench), run, report).await.resync
}

async fn only(bench: &Bench) -> Instance {
    let mut list = instance::list(&bench.cx, bench.cluster()).await.unwrap().list;
    assert_eq!(list.len(), 1, "{list:?}");
    list.remove(0)
}

async fn a_report_that_was_overtaken_puts_nothing_back(database: Database) {
    let bench = Bench::new(database).await;
    let (first, _) = newest(&bench).await;
    bench.application("one").await;
    let (second, _) = newest(&bench).await;
    beat(&bench.app, &bench, "run", report(second, 5)).await;
    beat(&bench.app, &bench, "run", report(first, 3)).await;
    let known = only(&bench).await;
    assert_eq!((known.report.config_version, known.report.api_calls), (second, 5));
    // One that really goes back is believed when it says so again.
    bench.config.clock.turn(5);
    beat(&bench.app, &bench, "run", report(first, 6)).await;
    let known = only(&bench).await;
    assert_eq!((known.report.config_version, known.report.api_calls), (first, 6));
}

async fn a_run_that_took_over_stays(database: Database) {
    let bench = Bench::new(database).await;
    let run = async || only(&bench).await.run_id;
    beat(&bench.app, &bench, "old", report(0, 10)).await;
    bench.config.clock.turn(10);
    beat(&bench.app, &bench, "new", report(0, 1)).await;
    bench.config.clock.turn(10);
    // What the old one has still served counts.
    beat(&bench.app, &bench, "old", report(0, 15)).await;
    assert_eq!(run().await, "new");
    beat(&bench.app, &bench, "new", report(0, 4)).await;
    let known = only(&bench).await;
    assert_eq!((known.uptime, known.report.api_calls), (10, 19));
    // The new one came to nothing.
    bench.config.clock.turn(30);
    beat(&bench.app, &bench, "old", report(0, 15)).await;
    assert_eq!(run().await, "old");
}

async fn who_lacks_a_revision_is_told_now_and_then(database: Database) {
    let bench = Bench::new(database).await;
    let (first, _) = newest(&bench).await;
    bench.application("one").await;
    let mut told = Vec::new();
    for second in 0..70 {
        if beat(&bench.app, &bench, "run", report(first, 0)).await {
            told.push(second);
        }
        bench.config.clock.turn(1);
    }
    assert_eq!(told, [5, 35, 65]);
}

async fn what_a_server_has_not_read_is_nobodys_fault(database: Database) {
    let bench = Bench::new(database).await;
    let (first, _) = newest(&bench).await;
    bench.application("one").await;
    bench.config.clock.turn(60);
    let late = bench.another().await;
    let feed = feed::open(&late, bench.cluster()).await.unwrap();
    assert!(!beat(&late, &bench, "run", report(first, 0)).await, "it has only just begun to read");
    bench.config.clock.turn(5);
    assert!(beat(&late, &bench, "run", report(first, 0)).await);
    drop(feed);
}

/// Somebody is connected from there.
async fn notice(bench: &Bench, address: &str) {
    let noticed = Noticed {
        id: connection_id(address),
        hostname: address.to_owned(),
        ip: address.to_owned(),
        version: "APISIX".to_owned(),
        run: String::new(),
        source: Source::Connection,
    };
    instance::notice(&bench.app, bench.cluster(), vec![noticed]).await.unwrap();
}

async fn a_gateway_is_not_noticed_twice(database: Database) {
    let bench = Bench::new(database).await;
    let known = async || bench.sql("SELECT id FROM instances ORDER BY id").await;
    // What it says of its own address is what its name stands for there.
    for address in ["10.0.0.7", "10.0.0.8"] {
        notice(&bench, address).await;
        assert!(known().await.contains(&connection_id(address)));
        let beat = Beat { run: "run".into(), address: address.into(), report: parse(report(0, 0)) };
        heartbeat(&bench.app, &identity(&bench), beat).await.unwrap();
        assert_eq!(known().await, ["gw-1"], "its connection has a name now");
        notice(&bench, address).await;
        assert_eq!(known().await, ["gw-1"]);
    }
    // Once it does not report any more, it is there because it is connected.
    bench.config.clock.turn(31);
    notice(&bench, "10.0.0.8").await;
    assert_eq!(known().await.len(), 2);
    assert_eq!(only(&bench).await.report.id, "gw-1", "and is still that instance");
}

async fn there_are_only_so_many_instances(database: Database) {
    let bench = Bench::new(database).await;
    beat(&bench.app, &bench, "run", report(0, 0)).await;
    bench
        .sql(
            "INSERT INTO instances (cluster_id, id, run_id, report, source, config_version, differs,
                 api_calls, register_time, run_started_at, last_seen_time)
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 9999)
             SELECT i.cluster_id, i.id || CAST(n.n AS TEXT), i.run_id, i.report, i.source, 0, 0, 0,
                 i.register_time, i.run_started_at, i.last_seen_time FROM instances i, n",
        )
        .await;
    beat(&bench.app, &bench, "run", report(0, 0)).await;
    let more = || Beat {
        run: "run".into(),
        address: String::new(),
        report: parse(json!({ "id": "one-more", "hostname": "h", "ip": "10.0.0.1" })),
    };
    let refused = heartbeat(&bench.app, &identity(&bench), more()).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::TooManyRequests);
    notice(&bench, "10.0.0.2").await;
    let count = async || bench.sql("SELECT CAST(COUNT(*) AS TEXT) FROM instances").await;
    let is_known = async |id: &str| {
        !bench.sql(&format!("SELECT id FROM instances WHERE id = '{id}'")).await.is_empty()
    };
    assert!(!is_known(&connection_id("10.0.0.2")).await, "who does not report counts too");
    // Those that are lost make room for others, one for one.
    bench.config.clock.turn(31);
    beat(&bench.app, &bench, "run", report(0, 0)).await;
    heartbeat(&bench.app, &identity(&bench), more()).await.unwrap();
    notice(&bench, "10.0.0.2").await;
    assert!(is_known("gw-1").await && is_known("one-more").await);
    assert!(is_known(&connection_id("10.0.0.2")).await);
    assert_eq!(count().await, ["10000"]);
}
