//! The audit: complete, chained, and impossible to edit unnoticed.

use gantry_app::{audit, cluster, gateway};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{Bench, on_both_engines, parse};

async fn busy(database: Database) -> Bench {
    let bench = Bench::new(database).await;
    let app = bench.application("shop").await;
    bench.api(app, "cart").await;
    let settings = parse(json!({ "client_settings": { "maximum_request_body_size": 7 } }));
    cluster::update_settings(&bench.cx, bench.cluster(), settings).await.unwrap();
    gateway::issue_certificate(&bench.cx, bench.cluster()).await.unwrap();
    bench
}

async fn untouched_ledgers_hold(database: Database) {
    let bench = busy(database).await;
    let report = audit::verify(&bench.app).await.unwrap();
    assert_eq!(report.broken, Vec::<String>::new());
    assert!(report.entries >= 8, "{report:?}");
    assert!(report.ledgers >= 1, "{report:?}");
}

/// Each edit alone is told, and what it did.
async fn any_edit_is_told(database: Database) {
    let bench = busy(database).await;
    let ledger = format!("cluster/{}", bench.cluster());
    let third = format!("ledger = '{ledger}' AND seq = 3");
    let edits = [
        format!("UPDATE audit SET actor = 'user:eve@example.com' WHERE {third}"),
        format!("UPDATE audit SET operation = 'other' WHERE {third}"),
        format!("UPDATE audit SET request_id = 'other' WHERE {third}"),
        format!("UPDATE audit SET object_kind = 'other' WHERE {third}"),
        format!("UPDATE audit SET object_id = '1' WHERE {third}"),
        format!("UPDATE audit SET revision = 99 WHERE {third}"),
        format!("UPDATE audit SET created_at = created_at + 1 WHERE {third}"),
        format!("UPDATE audit SET org_id = NULL WHERE {third}"),
        format!("UPDATE audit SET cluster_id = 1 WHERE {third}"),
        format!("UPDATE audit SET after_sealed = before_sealed WHERE {third}"),
        format!("UPDATE audit SET seq = 99 WHERE {third}"),
        format!("UPDATE audit SET id = id + 1 WHERE {third}"),
        format!("UPDATE audit SET ledger = '' WHERE {third}"),
        format!("DELETE FROM audit WHERE {third}"),
        format!("DELETE FROM audit WHERE ledger = '{ledger}' AND seq >= 3"),
        format!("DELETE FROM audit WHERE ledger = '{ledger}'"),
        format!("DELETE FROM audit_heads WHERE ledger = '{ledger}'"),
        format!("UPDATE audit_heads SET seq = seq - 1 WHERE ledger = '{ledger}'"),
    ];
    for edit in edits {
        bench.sql("CREATE TABLE kept AS SELECT * FROM audit").await;
        bench.sql("CREATE TABLE kept_heads AS SELECT * FROM audit_heads").await;
        bench.sql(&edit).await;
        let report = audit::verify(&bench.app).await.unwrap();
        assert_eq!(report.broken.len(), 1, "{edit}: {report:?}");
        assert!(report.broken[0].contains(&ledger), "{edit}: {report:?}");
        restore(&bench).await;
    }
}

/// Undoes an edit.
async fn restore(bench: &Bench) {
    for statement in [
        "DELETE FROM audit",
        "DELETE FROM audit_heads",
        "INSERT INTO audit SELECT * FROM kept",
        "INSERT INTO audit_heads SELECT * FROM kept_heads",
        "DROP TABLE kept",
        "DROP TABLE kept_heads",
    ] {
        bench.sql(statement).await;
    }
    assert_eq!(audit::verify(&bench.app).await.unwrap().broken, Vec::<String>::new());
}

/// Cutting a ledger off is told although its last entry left is made the head as well as one can.
async fn a_shortened_ledger_is_told(database: Database) {
    let bench = busy(database).await;
    let ledger = format!("cluster/{}", bench.cluster());
    bench.sql(&format!("DELETE FROM audit WHERE ledger = '{ledger}' AND seq > 2")).await;
    let last = format!("SELECT hash FROM audit WHERE ledger = '{ledger}' AND seq = 2");
    let head = format!("UPDATE audit_heads SET seq = 2, hash = ({last}) WHERE ledger = '{ledger}'");
    bench.sql(&head).await;
    let report = audit::verify(&bench.app).await.unwrap();
    assert_eq!(report.broken.len(), 1, "{report:?}");
    assert!(report.broken[0].contains(&ledger), "{report:?}");
}

/// Removing a ledger altogether, whoever's it is, is told by the list of ledgers; removing the list
/// is told as well.
async fn a_removed_ledger_is_told(database: Database) {
    let bench = busy(database).await;
    let heads = bench.sql("SELECT ledger FROM audit_heads").await;
    for kind in ["cluster/", "organization/", "user/", "installation"] {
        assert!(heads.iter().any(|ledger| ledger.starts_with(kind)), "{kind}: {heads:?}");
    }
    for ledger in heads {
        bench.sql("CREATE TABLE kept AS SELECT * FROM audit").await;
        bench.sql("CREATE TABLE kept_heads AS SELECT * FROM audit_heads").await;
        bench.sql(&format!("DELETE FROM audit WHERE ledger = '{ledger}'")).await;
        bench.sql(&format!("DELETE FROM audit_heads WHERE ledger = '{ledger}'")).await;
        let report = audit::verify(&bench.app).await.unwrap();
        assert_eq!(report.broken, [format!("ledger {ledger}: it was removed")]);
        restore(&bench).await;
    }
}

async fn a_dry_run_leaves_no_entry(database: Database) {
    let bench = busy(database).await;
    let before = audit::verify(&bench.app).await.unwrap();
    let mut rehearsal = bench.cx.clone();
    rehearsal.dry_run = true;
    let settings = parse(json!({ "client_settings": { "maximum_request_body_size": 8 } }));
    let written = cluster::update_settings(&rehearsal, bench.cluster(), settings).await.unwrap();
    let preview = written.preview.expect("a dry run answers a preview");
    assert_eq!(preview.changes.len(), 1, "{preview:?}");
    assert_eq!(preview.changes[0].key, "/apisix/global_rules/cluster");
    assert!(preview.changes[0].before.as_ref().unwrap().contains("\"max_body_size\":7"));
    assert!(preview.changes[0].after.as_ref().unwrap().contains("\"max_body_size\":8"));
    assert_eq!(audit::verify(&bench.app).await.unwrap(), before);
    let now = cluster::get(&bench.cx, bench.cluster()).await.unwrap();
    assert_eq!(now.config_version, preview.revision);
    assert_eq!(now.settings.client_settings.unwrap().maximum_request_body_size, 7);
}

on_both_engines! {
    untouched_ledgers_hold any_edit_is_told a_shortened_ledger_is_told a_removed_ledger_is_told a_dry_run_leaves_no_entry
}
