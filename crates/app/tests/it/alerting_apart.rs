//! Alerts that go wrong do not hold up others.

use std::time::Duration;

use gantry_app::{alert_policy, alert_webhook, alerting, certificate, cluster};
use gantry_model::Id;
use gantry_testkit::Receiver;
use gantry_testkit::database::Database;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::alerting::{history, limit, policy, status};
use crate::harness::{Bench, on_both_engines, parse};

on_both_engines! {
    a_policy_that_cannot_be_read_is_moved_on
    a_certificate_that_cannot_be_read_concerns_who_looks_at_certificates
    a_receiver_that_hangs_is_in_the_way_of_its_own_cluster
}

async fn running(bench: &Bench, name: &str, condition: Value) {
    let basics = json!({ "emails": ["ops@example.com"] });
    let id = policy(bench, name, "All", json!([condition]), basics).await;
    switch_on(bench, id).await;
}

async fn switch_on(bench: &Bench, policy: Id) {
    alert_policy::set_disabled(&bench.cx, bench.cluster(), policy, Some(false)).await.unwrap();
}

fn always() -> Value {
    status("number_of_status_code", "larger_equal", 0)
}

async fn told(bench: &Bench) -> Vec<String> {
    let history = history(&bench.cx, bench.cluster()).await.into_iter();
    history.map(|entry| entry.delivery.alert_policy_name).collect()
}

async fn problems(bench: &Bench) -> Vec<String> {
    let with_problem = "SELECT name || ': ' || check_problem FROM alert_policies
        WHERE check_problem IS NOT NULL AND due_at > checked_after ORDER BY name";
    let now = bench.app.now().micros().to_string();
    bench.sql(&with_problem.replace("checked_after", &now)).await
}

async fn a_policy_that_cannot_be_read_is_moved_on(database: Database) {
    let bench = Bench::new(database).await;
    running(&bench, "damaged", always()).await;
    running(&bench, "whole", always()).await;
    bench.sql("UPDATE alert_policies SET spec_sealed = 'x' WHERE name = 'damaged'").await;
    alerting::check_due(&bench.app).await.unwrap();
    assert_eq!(told(&bench).await, ["whole"]);
    let expected = "damaged: the server could not check this policy: its log says why";
    assert_eq!(problems(&bench).await, [expected], "it is not due again at once");
}

async fn a_certificate_that_cannot_be_read_concerns_who_looks_at_certificates(database: Database) {
    let bench = Bench::new(database).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["shop.example.com".to_owned()]).unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    let spec = json!({ "certificate": pem, "private_key": key.serialize_pem() });
    certificate::create(&bench.cx, bench.cluster(), parse(spec)).await.unwrap();
    bench.sql("UPDATE resource_specs SET spec_sealed = 'x'").await;
    running(&bench, "answers", always()).await;
    running(&bench, "served", limit("gateway_certificate_will_expire_in", "less_than", 7, "day"))
        .await;
    alerting::check_due(&bench.app).await.unwrap();
    assert_eq!(told(&bench).await, ["answers"]);
    let expected = "served: the server could not look at the conditions: its log says why";
    assert_eq!(problems(&bench).await, [expected]);
}

async fn posting(bench: &Bench, name: &str, receivers: &[String]) {
    let id = policy(bench, name, "All", json!([always()]), json!({})).await;
    for (number, url) in receivers.iter().enumerate() {
        let spec = json!({ "name": format!("hook {number}"), "url": url, "skip_tls_verify": false,
            "template": "{{.Name}}" });
        alert_webhook::add(&bench.cx, bench.cluster(), id, parse(spec)).await.unwrap();
    }
    switch_on(bench, id).await;
}

async fn a_receiver_that_hangs_is_in_the_way_of_its_own_cluster(database: Database) {
    gantry_testkit::client::use_ring();
    let allowed = |config: &mut gantry_app::Config| {
        config.alerting.allowed_networks = "127.0.0.1".parse().unwrap();
        // Longer than the test: who hangs is not given up.
        config.alerting.patience = Some(Duration::from_secs(3600));
    };
    let mut bench = Bench::with(database, allowed).await;
    let (hanging, well) = (Receiver::start().await, Receiver::start().await);
    hanging.hold(true);
    let first = bench.cluster();
    for number in 0..4 {
        let hooks: Vec<String> = (0..10).map(|hook| hanging.url(&format!("/{hook}"))).collect();
        posting(&bench, &format!("policy {number}"), &hooks).await;
    }
    alerting::check_due(&bench.app).await.unwrap();
    // What is decided later comes after what waits already.
    bench.config.clock.turn(1);
    let create = parse(json!({ "name": "second" }));
    let made = cluster::create(&bench.cx, bench.first.organization, create).await.unwrap();
    bench.first.cluster = made.id;
    posting(&bench, "well", &[well.url("/")]).await;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(alerting::run(bench.app.clone(), shutdown.clone()));
    well.first(1).await;
    let waiting = history(&bench.cx, first).await;
    assert_eq!(waiting.len(), 40);
    assert!(waiting.iter().all(|entry| entry.delivery.attempts.is_empty()), "all still hang");
    hanging.hold(false);
    hanging.first(40).await;
    shutdown.cancel();
    running.await.unwrap();
}
