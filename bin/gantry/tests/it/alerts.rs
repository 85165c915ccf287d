//! Alerts of real conditions reach a real receiver, whenever the server is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use gantry_testkit::{Database, Receiver};
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Installation, api, application, eventually, text};

const TO_LOCALHOST: [&str; 2] = ["--webhook-allow-networks", "127.0.0.1"];

fn status(event: &str, value: i64) -> Value {
    json!({ "event": event, "operator": "larger_equal", "value": value, "event_config": {
        "http_status_code": "5xx", "duration": 1, "unit": "hour" } })
}

fn limit(event: &str, operator: &str, value: i64, unit: &str) -> Value {
    json!({ "event": event, "operator": operator, "value": value, "value_unit": unit })
}

/// A policy that is complete and off; its path.
async fn policy(gantry: &Installation, receiver: &str, name: &str, condition: Value) -> String {
    let all = gantry.cluster_path("/alert_policies");
    let made = gantry.call(Method::POST, &all, Some(json!({ "name": name }))).await;
    let path = format!("{all}/{}", text(&made["id"]));
    let basics = json!({ "class": "cluster", "source": "gateway", "check_interval": 3600,
                         "severity": "high" });
    gantry.call(Method::PUT, &path, Some(basics)).await;
    let triggers = json!({ "trigger_logical_operator": "All", "trigger_conditions": [condition] });
    gantry.call(Method::PUT, &format!("{path}/triggers"), Some(triggers)).await;
    let webhook = json!({ "name": "chat", "url": receiver, "skip_tls_verify": false,
        "template": r#"{"policy": "{{.Name}}", "events": {{len .AlertEvents}}}"# });
    gantry.call(Method::POST, &format!("{path}/webhooks"), Some(webhook)).await;
    path
}

async fn switch(gantry: &Installation, policy: &str, on: bool) {
    gantry.call(Method::PATCH, policy, Some(json!({ "disabled": !on }))).await;
}

async fn history(gantry: &Installation) -> Vec<Value> {
    let path = gantry.cluster_path("/alert_policies/histories?page_size=1000");
    gantry.call(Method::GET, &path, None).await["list"].as_array().unwrap().clone()
}

async fn all_delivered(gantry: &Installation, count: usize) -> bool {
    let history = history(gantry).await;
    history.len() == count && history.iter().all(|entry| entry["status"] == 1)
}

/// How often each id was received.
fn received(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut received = BTreeMap::new();
    for call in receiver.calls() {
        *received.entry(call.id().to_owned()).or_default() += 1;
    }
    received
}

#[tokio::test]
async fn every_alert_is_told_through_kill_9_on_sqlite() {
    tell_through_a_kill(Database::Sqlite).await;
}

#[tokio::test]
async fn every_alert_is_told_through_kill_9_on_postgres() {
    tell_through_a_kill(Database::postgres()).await;
}

/// All five events are real; the server dies after it has decided and before anything is delivered.
async fn tell_through_a_kill(database: Database) {
    let mut gantry = Installation::start_with(database, &TO_LOCALHOST).await;
    let mut gateway = gantry.gateway("gateway").await;
    // Nobody listens on port 1.
    let dead = application("dead", "/dead", ([127, 0, 0, 1], 1).into());
    let dead = gantry.call(Method::POST, &gantry.cluster_path("/apps"), Some(dead)).await;
    gantry.api(&text(&dead["id"]), api("broken", "/broken")).await;
    gateway.applied(gantry.revision().await).await;
    for _ in 0..20 {
        assert_eq!(gateway.get("/dead/broken").await.status(), 502);
    }
    let receiver = Receiver::start().await;
    receiver.hold(true);
    let hook = receiver.url("/hook");
    let number = policy(&gantry, &hook, "number", status("number_of_status_code", 20)).await;
    eventually("the policy would alert", || async {
        let tested = gantry.call(Method::GET, &format!("{number}/back_test"), None).await;
        tested["fired"] == 1
    })
    .await;
    gateway.kill().await;
    let silent = Instant::now();
    let certificate = certificate_near_its_end();
    gantry.call(Method::POST, &gantry.cluster_path("/certificates"), Some(certificate)).await;

    let mut policies = vec![number];
    for (name, condition) in [
        ("ratio", status("ratio_of_status_code", 100)),
        ("join", limit("control_plane_certificate_will_expire_in", "less_equal", 398, "day")),
        ("served", limit("gateway_certificate_will_expire_in", "less_than", 8, "day")),
        ("offline", limit("gateway_instance_offline", "larger_equal", 1, "second")),
        // And one that does not hold.
        ("none", limit("gateway_instance_offline", "larger_equal", 6, "day")),
    ] {
        policies.push(policy(&gantry, &hook, name, condition).await);
    }
    // Each policy is looked at once within this test: its condition has to hold by then.
    eventually("the gateway is silent", || async { silent.elapsed().as_secs() >= 2 }).await;
    for policy in &policies {
        switch(&gantry, policy, true).await;
    }
    receiver.first(5).await;
    gantry.kill_server().await;
    receiver.hold(false);
    gantry.start_server().await;
    eventually("all is delivered", || all_delivered(&gantry, 5)).await;

    let told: BTreeSet<String> =
        receiver.calls().iter().map(|call| text(&call.json()["policy"])).collect();
    assert_eq!(
        told.into_iter().collect::<Vec<_>>(),
        ["join", "number", "offline", "ratio", "served"]
    );
    // What broke off was repeated, with the same ids; each id is an entry of the history.
    let received = received(&receiver);
    let entries: Vec<String> = history(&gantry).await.iter().map(|one| text(&one["id"])).collect();
    assert_eq!(received.keys().collect::<BTreeSet<_>>(), entries.iter().collect());
    // An attempt that was held for ten seconds has been given up and repeated before, too.
    assert!(received.values().all(|times| (1..=3).contains(times)), "{received:?}");
}

/// Good for five more days.
fn certificate_near_its_end() -> Value {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["shop.example.com".to_owned()]).unwrap();
    params.not_after =
        (std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 86_400)).into();
    let pem = params.self_signed(&key).unwrap().pem();
    json!({ "certificate": pem, "private_key": key.serialize_pem() })
}

#[tokio::test]
async fn what_nobody_took_is_told_after_kill_9_on_sqlite() {
    tell_who_was_away(Database::Sqlite).await;
}

#[tokio::test]
async fn what_nobody_took_is_told_after_kill_9_on_postgres() {
    tell_who_was_away(Database::postgres()).await;
}

/// The receiver is away when the alert is decided, and comes back only while the server is dead.
async fn tell_who_was_away(database: Database) {
    let mut gantry = Installation::start_with(database, &TO_LOCALHOST).await;
    gantry.call(Method::GET, &gantry.cluster_path("/gateway_certificate"), None).await;
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    drop(port);
    let condition = limit("control_plane_certificate_will_expire_in", "less_equal", 398, "day");
    let path = policy(&gantry, &format!("http://{address}/"), "join", condition).await;
    switch(&gantry, &path, true).await;
    eventually("an attempt has failed", || async {
        let history = history(&gantry).await;
        history.first().is_some_and(|entry| entry["attempts"] != json!([]))
    })
    .await;
    gantry.kill_server().await;
    let receiver = Receiver::start_at(address).await;
    gantry.start_server().await;
    eventually("it is delivered", || all_delivered(&gantry, 1)).await;
    let entry = history(&gantry).await.remove(0);
    assert_eq!(received(&receiver), BTreeMap::from([(text(&entry["id"]), 1)]));
    let attempts = entry["attempts"].as_array().unwrap();
    assert!(text(&attempts[0]["outcome"]).contains("no answer"), "{entry}");
    assert_eq!(attempts.last().unwrap()["outcome"], "204 No Content");
}

#[tokio::test]
async fn killed_at_any_moment_no_interval_is_told_twice_on_sqlite() {
    kill_again_and_again(Database::Sqlite).await;
}

#[tokio::test]
async fn killed_at_any_moment_no_interval_is_told_twice_on_postgres() {
    kill_again_and_again(Database::postgres()).await;
}

/// The servers of one PostgreSQL: either may die, one of them tells each alert.
#[tokio::test]
async fn of_two_servers_one_tells_each_alert() {
    let mut gantry = often_checked(Database::postgres()).await;
    let second = gantry.second_server().await;
    kill_and_count(&mut gantry).await;
    second.kill().await;
}

async fn kill_again_and_again(database: Database) {
    kill_and_count(&mut often_checked(database).await).await;
}

/// A server that checks every policy ten times a second.
async fn often_checked(database: Database) -> Installation {
    let arguments = [&TO_LOCALHOST[..], &["--alert-interval-ms", "100"]].concat();
    Installation::start_with(database, &arguments).await
}

async fn kill_and_count(gantry: &mut Installation) {
    const INTERVAL_MS: u128 = 100;
    gantry.call(Method::GET, &gantry.cluster_path("/gateway_certificate"), None).await;
    let receiver = Receiver::start().await;
    let condition = limit("control_plane_certificate_will_expire_in", "less_equal", 398, "day");
    let path = policy(gantry, &receiver.url("/"), "join", condition).await;
    let begin = Instant::now();
    switch(gantry, &path, true).await;
    let kills = 4;
    for _ in 0..kills {
        let so_far = receiver.calls().len();
        receiver.first(so_far + 3).await;
        gantry.kill_server().await;
        gantry.start_server().await;
    }
    switch(gantry, &path, false).await;
    let longest = begin.elapsed().as_millis() / INTERVAL_MS + 1;
    eventually("nothing waits", || async {
        history(gantry).await.iter().all(|entry| entry["status"] == 1)
    })
    .await;
    let history = history(gantry).await;
    assert!(history.len() as u128 <= longest, "{} entries in {longest} intervals", history.len());
    let received = received(&receiver);
    let entries: BTreeSet<String> = history.iter().map(|entry| text(&entry["id"])).collect();
    assert_eq!(received.keys().cloned().collect::<BTreeSet<_>>(), entries);
    // Whatever is under way when a server is killed comes again; that is at most 16 at once.
    let again: usize = received.values().map(|times| times - 1).sum();
    assert!(again <= kills * 16, "{received:?}");
}
