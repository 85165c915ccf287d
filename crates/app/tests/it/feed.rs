//! The log of revisions: gapless, complete and in order, also under many writers.

use gantry_app::feed::{self, After};
use gantry_app::{application, cluster};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{Bench, application_spec, on_both_engines, parse};

on_both_engines! {
    revisions_have_no_gap_under_many_writers
    a_compacted_log_says_from_where_it_goes_on
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
