//! A new master key: everything opens with it, nothing with the old one, and nothing is forgotten.

use std::collections::BTreeSet;

use gantry_app::{
    App, Config, alert_history, alert_policy, alert_webhook, application, audit, consumer, rotation,
};
use gantry_model::alert_history::Delivery;
use gantry_model::alert_policy::{AlertPolicyCreate, Severity};
use gantry_model::alert_webhook::{WebhookMethod, WebhookSpec};
use gantry_model::{ErrorCode, Id, Secret};
use gantry_testkit::database::Database;

use crate::harness::{Bench, consumer_spec, on_both_engines, signed_in};

const KEYS: [&str; 2] = [
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "ISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0A=",
];

/// An alert policy with a webhook, and something it has sent.
async fn alert(bench: &Bench) -> (Id, Id) {
    let create = AlertPolicyCreate { name: "errors".into(), description: None };
    let policy = alert_policy::create(&bench.cx, bench.cluster(), create).await.unwrap().value.id;
    let webhook = WebhookSpec {
        name: "chat".into(),
        description: None,
        url: "https://example.com/hook".into(),
        method: WebhookMethod::Post,
        skip_tls_verify: false,
        headers: Vec::new(),
        template: "{{.Title}}".into(),
        secret: None,
    };
    alert_webhook::add(&bench.cx, bench.cluster(), policy, webhook).await.unwrap();
    let delivery = Delivery {
        alert_policy_id: policy,
        alert_policy_name: "errors".into(),
        webhook_id: Some(policy),
        webhook_name: "chat".into(),
        severity: Severity::Low,
        description: String::new(),
        status: 1,
        http_request: "POST".into(),
        http_response: "204".into(),
        attempts: Vec::new(),
    };
    let (app, cluster) = (&bench.app, bench.cluster());
    let history = alert_history::record(app, cluster, app.now(), &delivery).await.unwrap();
    (policy, history)
}

async fn everything_is_sealed_anew(database: Database) {
    let bench = Bench::new(database).await;
    let app = bench.application("shop").await;
    consumer::create(&bench.cx, bench.cluster(), consumer_spec("alice", "key-1")).await.unwrap();
    let (policy, history) = alert(&bench).await;
    let rotated = rotation::rotate(&bench.app, Some(Secret::new(KEYS[0]))).await.unwrap();
    assert!(rotated.values > 10 && rotated.key.is_none(), "{rotated:?}");
    let file = std::fs::read_to_string(bench.dir.path().join("master.key")).unwrap();
    assert_eq!(file, KEYS[0]);

    let again = App::open(bench.config.clone()).await.unwrap();
    let cx = signed_in(&again, bench.first.access_token.expose()).await;
    assert_eq!(application::get(&cx, bench.cluster(), app).await.unwrap().spec.name, "shop");
    assert_eq!(alert_policy::get(&cx, bench.cluster(), policy).await.unwrap().webhooks.len(), 1);
    let sent = alert_history::get(&cx, bench.cluster(), history).await.unwrap();
    assert_eq!(sent.delivery.http_response, "204");
    assert_eq!(audit::verify(&again).await.unwrap().broken, Vec::<String>::new());
    let taken = consumer::create(&cx, bench.cluster(), consumer_spec("bob", "key-1")).await;
    assert_eq!(taken.unwrap_err().code, ErrorCode::Conflict, "hashes of credentials still compare");
    again.close().await;

    let with = |key: &str| {
        App::open(Config { master_key: Some(Secret::new(key)), ..bench.config.clone() })
    };
    with(KEYS[0]).await.unwrap().close().await;
    assert!(with(KEYS[1]).await.is_err());
}

/// The key was given, so the caller has to be told the new one.
async fn a_key_without_a_file_is_answered(database: Database) {
    let bench = Bench::new(database).await;
    rotation::rotate(&bench.app, Some(Secret::new(KEYS[0]))).await.unwrap();
    let given = Config { master_key: Some(Secret::new(KEYS[0])), ..bench.config.clone() };
    let app = App::open(given).await.unwrap();
    let key = rotation::rotate(&app, None).await.unwrap().key.expect("the new key");
    app.close().await;
    let given = Config { master_key: Some(key), ..bench.config.clone() };
    App::open(given).await.unwrap().close().await;
}

/// The machine stops between the commit and the change of the key file, or before the commit.
async fn a_rotation_that_was_cut_off_is_settled(database: Database) {
    let bench = Bench::new(database).await;
    let (file, next) =
        (bench.dir.path().join("master.key"), bench.dir.path().join("master.key.next"));
    let old = std::fs::read_to_string(&file).unwrap();
    rotation::rotate(&bench.app, Some(Secret::new(KEYS[0]))).await.unwrap();
    std::fs::write(&file, &old).unwrap();
    std::fs::write(&next, KEYS[0]).unwrap();
    App::open(bench.config.clone()).await.unwrap().close().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), KEYS[0]);

    std::fs::write(&next, KEYS[1]).unwrap();
    App::open(bench.config.clone()).await.unwrap().close().await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), KEYS[0]);
    assert!(!next.exists());
}

#[tokio::test]
async fn every_sealed_column_of_the_schema_is_known() {
    let bench = Bench::new(Database::Sqlite).await;
    let schema = "SELECT t.name || '.' || c.name FROM sqlite_master t, pragma_table_info(t.name) c
                  WHERE t.type = 'table' AND (c.name = 'sealed' OR c.name LIKE '%\\_sealed' ESCAPE '\\')";
    let there: BTreeSet<String> = bench.sql(schema).await.into_iter().collect();
    let known = rotation::sealed_columns().map(|(table, column)| format!("{table}.{column}"));
    assert_eq!(there, known.collect());
}

on_both_engines! {
    everything_is_sealed_anew a_key_without_a_file_is_answered a_rotation_that_was_cut_off_is_settled
}
