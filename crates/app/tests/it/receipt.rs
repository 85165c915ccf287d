//! Gateways that use something else than they should.

use gantry_app::gateway::{Identity, Via};
use gantry_app::{housekeeping, receipt};
use gantry_model::ErrorCode;
use gantry_model::instance::HeartbeatResult;
use gantry_model::receipt::ReceiptState;
use gantry_store::{audit, revision};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{self, Bench, on_both_engines};

on_both_engines! {
    a_digest_that_differs_starts_a_resync_and_is_audited_once
    a_revision_that_never_was_starts_a_resync
    receipts_are_forgotten_with_age_and_number
}

pub fn identity(bench: &Bench) -> Identity {
    let via = Via::Certificate { serial: "01".into() };
    Identity { cluster: bench.cluster(), org: bench.first.organization, via }
}

async fn beat(bench: &Bench, revision: i64, digest: &str) -> HeartbeatResult {
    let report = json!({"id": "gw-1", "hostname": "h", "ip": "127.0.0.1", "etcd_reachable": true,
        "config_version": revision, "digest": digest});
    harness::beat(&bench.app, &identity(bench), "run", report).await
}

/// The newest revision and its digest.
pub async fn newest(bench: &Bench) -> (i64, String) {
    let store = bench.store().await;
    let mut tx = store.read().await.unwrap();
    let (newest, _) = revision::bounds(&mut tx, bench.cluster()).await.unwrap().unwrap();
    let row = revision::find(&mut tx, bench.cluster(), newest).await.unwrap().unwrap();
    (newest, row.digest)
}

/// How many resyncs the audit knows of.
async fn resyncs(bench: &Bench) -> usize {
    let store = bench.store().await;
    let mut tx = store.read().await.unwrap();
    let entries = audit::newest(&mut tx, bench.cluster(), 1000).await.unwrap();
    entries.iter().filter(|entry| entry.operation == "reportHeartbeat").count()
}

async fn state(bench: &Bench, revision: i64) -> ReceiptState {
    let receipts = receipt::receipts(&bench.cx, bench.cluster(), revision).await.unwrap();
    receipts.list[0].state
}

async fn a_digest_that_differs_starts_a_resync_and_is_audited_once(database: Database) {
    let bench = Bench::new(database).await;
    bench.application("one").await;
    let (first, first_digest) = newest(&bench).await;
    bench.application("two").await;
    let (second, digest) = newest(&bench).await;
    let wrong = "00000000000000000000000000000000";
    for _ in 0..2 {
        assert!(beat(&bench, second, wrong).await.resync);
        assert_eq!(resyncs(&bench).await, 1, "the same news again is no second entry");
        assert_eq!(state(&bench, second).await, ReceiptState::Differs);
    }
    // The digest of another revision is wrong too; each revision has its own.
    assert!(beat(&bench, second, &first_digest).await.resync);
    assert_eq!(resyncs(&bench).await, 2);
    assert!(!beat(&bench, first, &first_digest).await.resync);
    assert!(!beat(&bench, second, &digest).await.resync);
    assert_eq!(state(&bench, second).await, ReceiptState::Applied);
    assert_eq!(resyncs(&bench).await, 2);
    audit_holds(&bench).await;
}

async fn a_revision_that_never_was_starts_a_resync(database: Database) {
    let bench = Bench::new(database).await;
    let (newest, _) = newest(&bench).await;
    assert!(beat(&bench, newest + 1, "").await.resync);
    assert_eq!(resyncs(&bench).await, 1);
    assert_eq!(state(&bench, newest).await, ReceiptState::Differs);
    assert!(!beat(&bench, newest, "").await.resync);
    assert_eq!(state(&bench, newest).await, ReceiptState::Applied);
    audit_holds(&bench).await;
}

async fn audit_holds(bench: &Bench) {
    let report = gantry_app::audit::verify(&bench.app).await.unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
}

async fn receipts_are_forgotten_with_age_and_number(database: Database) {
    let bench = Bench::new(database).await;
    let (first, digest) = newest(&bench).await;
    beat(&bench, first, &digest).await;
    let times = async || {
        let receipts = receipt::receipts(&bench.cx, bench.cluster(), first).await.unwrap();
        receipts.list.first().map(|one| (one.state, one.applied_at.is_some()))
    };
    housekeeping::once(&bench.app).await.unwrap();
    assert_eq!(times().await, Some((ReceiptState::Applied, true)));
    // In use for longer than receipts are kept: it is applied, but since when is not known.
    for _ in 0..31 {
        bench.config.clock.turn(24 * 3600);
        beat(&bench, first, &digest).await;
    }
    housekeeping::once(&bench.app).await.unwrap();
    assert_eq!(times().await, Some((ReceiptState::Applied, false)));
    // An instance that is forgotten takes its receipts along.
    bench.config.clock.turn(8 * 24 * 3600);
    housekeeping::once(&bench.app).await.unwrap();
    assert_eq!(times().await, None);
    let unknown = receipt::receipts(&bench.cx, bench.cluster(), first + 1).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::NotFound);
}
