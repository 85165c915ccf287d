//! The log of revisions: gapless, complete and in order, also under many writers.

use gantry_app::feed::{self, After};
use gantry_app::{App, application, cluster, consumer};
use gantry_store::resource::{self, Kind};
use gantry_store::{audit, revision};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{Bench, application_spec, consumer_spec, on_both_engines, parse};

on_both_engines! {
    revisions_have_no_gap_under_many_writers
    a_compacted_log_says_from_where_it_goes_on
    a_compaction_keeps_the_deletions_of_its_own_revision
    a_failing_write_leaves_nothing_among_its_neighbours
}

const WRITERS: usize = 50;

async fn revisions_have_no_gap_under_many_writers(database: Database) {
    let bench = Bench::new(database).await;
    let follow = feed::open(&bench.app, bench.cluster()).await.unwrap();
    let start = follow.newest();
    let writers: Vec<_> = (0..WRITERS)
        .map(|number| {
            let (cx, cluster) = (bench.cx.clone(), bench.cluster());
            tokio::spawn(async move {
                let spec = application_spec(&format!("app-{number}"));
                application::create(&cx, cluster, spec).await.unwrap().revision
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.push(writer.await.unwrap());
    }
    acknowledged.sort_unstable();
    let expected: Vec<i64> = (start + 1..).take(WRITERS).collect();
    assert_eq!(acknowledged, expected);
    let (mut seen, mut changed) = (Vec::new(), follow.changed());
    while seen.len() < WRITERS {
        let from = seen.last().copied().unwrap_or(start);
        match follow.after(from).await.unwrap() {
            After::Revisions(some) if some.is_empty() => changed.changed().await.unwrap(),
            After::Revisions(some) => seen.extend(some.iter().map(|one| one.revision)),
            After::Compacted(at) => panic!("compacted at {at}"),
        }
    }
    assert_eq!(seen, expected);
    let version = cluster::get(&bench.cx, bench.cluster()).await.unwrap().config_version;
    assert_eq!(version, expected[WRITERS - 1]);
}

async fn a_compacted_log_says_from_where_it_goes_on(database: Database) {
    let bench = Bench::new(database).await;
    let app = bench.application("orders").await;
    for number in 0..5 {
        let patch = parse(json!({"hosts": [format!("h{number}.example.com")]}));
        application::patch(&bench.cx, bench.cluster(), app, patch).await.unwrap();
    }
    let all = feed::range(&bench.app, bench.cluster(), "/", Some("0"), None).await.unwrap();
    let newest = all.revision;
    let old = feed::range(&bench.app, bench.cluster(), "/", Some("0"), Some(newest - 2)).await;
    let old = old.unwrap();
    let service = format!("/apisix/services/{app}");
    let text = |range: &feed::Range| {
        let found = range.entries.iter().find(|entry| entry.key == service).unwrap();
        found.value.to_string()
    };
    assert!(text(&old).contains("h2.example.com"));
    assert!(text(&all).contains("h4.example.com"));
    feed::compact(&bench.app, bench.cluster(), 2).await.unwrap();
    let follow = feed::open(&bench.app, bench.cluster()).await.unwrap();
    assert!(matches!(follow.after(1).await.unwrap(), After::Compacted(at) if at == newest - 2));
    let After::Revisions(rest) = follow.after(newest - 3).await.unwrap() else {
        panic!("the revision that a compaction names can be read");
    };
    assert_eq!(rest.len(), 3);
    let kept = feed::range(&bench.app, bench.cluster(), "/", Some("0"), Some(newest - 2)).await;
    assert_eq!(text(&kept.unwrap()), text(&old));
    let gone = feed::range(&bench.app, bench.cluster(), "/", Some("0"), Some(newest - 3)).await;
    assert!(gone.unwrap_err().message.contains("compacted"));
}

async fn a_compaction_keeps_the_deletions_of_its_own_revision(database: Database) {
    let bench = Bench::new(database).await;
    let near = feed::open(&bench.app, bench.cluster()).await.unwrap();
    let start = near.newest();
    let app = bench.application("orders").await;
    let gone = application::delete(&bench.cx, bench.cluster(), app, true).await.unwrap().revision;
    bench.application("later").await;
    let mut changed = near.changed();
    while near.newest() <= gone {
        changed.changed().await.unwrap();
    }
    feed::compact(&bench.app, bench.cluster(), 1).await.unwrap();
    // Another server has no tail: it reads the log.
    let other = App::open(bench.config.clone()).await.unwrap();
    let far = feed::open(&other, bench.cluster()).await.unwrap();
    let After::Revisions(rest) = far.after(gone - 1).await.unwrap() else {
        panic!("the revision that a compaction names can be read");
    };
    let service = format!("/apisix/services/{app}");
    let deleted = |change: &feed::Change| change.key == service && change.value.is_none();
    assert!(rest[0].revision == gone && rest[0].changes.iter().any(deleted), "{rest:?}");
    assert!(matches!(far.after(gone - 2).await.unwrap(), After::Compacted(at) if at == gone));
    // Who watches from the tail goes on as if nothing had happened.
    let After::Revisions(kept) = near.after(start).await.unwrap() else {
        panic!("the tail reaches back");
    };
    let numbers: Vec<i64> = kept.iter().map(|one| one.revision).collect();
    assert_eq!(numbers, [start + 1, gone, gone + 1]);
    other.close().await;
}

/// Writers of which half use one and the same key: the row of such a consumer is written before its
/// key turns out to be taken, and its neighbours share the commit.
async fn a_failing_write_leaves_nothing_among_its_neighbours(database: Database) {
    let bench = Bench::new(database).await;
    let org = cluster::get(&bench.cx, bench.cluster()).await.unwrap().org_id;
    let create = parse(json!({ "name": "crowded" }));
    let made = cluster::create(&bench.cx, org, create).await.unwrap();
    let writers = (0..WRITERS).map(|number| {
        let cx = bench.cx.clone();
        let key = if number % 2 == 0 { "same".to_owned() } else { format!("key-{number}") };
        let spec = consumer_spec(&format!("consumer_{number}"), &key);
        tokio::spawn(async move { consumer::create(&cx, made.id, spec).await })
    });
    let mut outcomes = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        outcomes.push(writer.await.unwrap());
    }
    let kept: Vec<_> = outcomes.iter().flatten().collect();
    assert_eq!(kept.len(), WRITERS / 2 + 1);
    for refused in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
        assert!(refused.message.contains("`credentials.key-auth.key`"), "{refused}");
    }
    let newest = cluster::get(&bench.cx, made.id).await.unwrap().config_version;
    let grown = usize::try_from(newest - made.config_version).unwrap();
    assert_eq!(grown, kept.len(), "no revision of a refused write");
    let store = bench.store().await;
    let mut tx = store.read().await.unwrap();
    let rows = resource::all(&mut tx, Kind::Consumer, made.id).await.unwrap();
    assert_eq!(rows.len(), kept.len(), "no resource of a refused write");
    let entries = audit::newest(&mut tx, made.id, 1000).await.unwrap();
    assert_eq!(entries.len(), kept.len() + 1, "the cluster's own entry and one for each consumer");
    let changes = revision::changes(&mut tx, made.id, made.config_version, newest).await.unwrap();
    assert_eq!(changes.len(), kept.len(), "one key for each consumer");
    drop(tx);
    store.close().await;
}
