//! Writes: what they check, what they leave behind, and what they leave alone.

use std::fs;

use gantry_app::{Kind, api, application, cluster, consumer, debug, feed, label};
use gantry_model::{ErrorCode, ListQuery};
use gantry_testkit::database::Database;
use serde_json::json;

use crate::harness::{Bench, api_spec, application_spec, consumer_spec, on_both_engines, parse};

on_both_engines! {
    a_failing_write_changes_nothing
    lists_search_filter_and_page
    an_application_with_apis_is_deleted_by_cascade_only
    a_draft_takes_its_keys_back
    credentials_are_unique_and_masked
    names_are_ordered_alike_on_both_engines
    a_prefix_that_an_api_cannot_bear_is_refused
}

async fn a_failing_write_changes_nothing(database: Database) {
    let bench = Bench::new(database).await;
    bench.application("orders").await;
    let before = feed::range(&bench.app, bench.cluster(), "/", Some("0"), None).await.unwrap();
    let twice = application::create(&bench.cx, bench.cluster(), application_spec("orders")).await;
    assert_eq!(twice.unwrap_err().code, ErrorCode::Conflict);
    let mut no_version = application_spec("other");
    no_version.default_upstream_version = "missing".into();
    let refused = application::create(&bench.cx, bench.cluster(), no_version).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(refused.message.contains("default_upstream_version"), "{}", refused.message);
    let after = feed::range(&bench.app, bench.cluster(), "/", Some("0"), None).await.unwrap();
    assert_eq!(before.revision, after.revision);
    assert_eq!(before.entries.len(), after.entries.len());
    let found = cluster::get(&bench.cx, bench.cluster()).await.unwrap();
    assert_eq!(found.config_version, after.revision);
}

async fn lists_search_filter_and_page(database: Database) {
    let bench = Bench::new(database).await;
    for (name, labels) in [("one", json!(["a"])), ("two", json!(["a", "b"])), ("three", json!([]))]
    {
        let mut spec = application_spec(name);
        spec.labels = parse(labels);
        application::create(&bench.cx, bench.cluster(), spec).await.unwrap();
    }
    let list = async |query: ListQuery| {
        let page = application::list(&bench.cx, bench.cluster(), &query).await.unwrap();
        let names: Vec<String> = page.list.into_iter().map(|one| one.spec.name).collect();
        (names, page.count)
    };
    let query = ListQuery::default();
    let labelled = ListQuery { labels: vec!["a".into(), "b".into()], ..query.clone() };
    assert_eq!(list(labelled).await, (vec!["two".into()], 1));
    let by_host = ListQuery { search: "THREE.EXAMPLE".into(), ..query.clone() };
    assert_eq!(list(by_host).await, (vec!["three".into()], 1));
    let wildcard = ListQuery { search: "%".into(), ..query.clone() };
    assert_eq!(list(wildcard).await, (vec![], 0));
    let by_name = ListQuery { order_by: Some("name".into()), page_size: 2, page: 2, ..query };
    assert_eq!(list(by_name).await, (vec!["one".into(), "demo".into()], 4));
    let labels = label::list(&bench.cx, bench.cluster(), Kind::Application).await.unwrap();
    assert_eq!(labels, ["a", "b"]);
}

async fn an_application_with_apis_is_deleted_by_cascade_only(database: Database) {
    let bench = Bench::new(database).await;
    let app = bench.application("orders").await;
    let id = bench.api(app, "list").await;
    let refused = application::delete(&bench.cx, bench.cluster(), app, false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InUse);
    application::delete(&bench.cx, bench.cluster(), app, true).await.unwrap();
    assert_eq!(api::get(&bench.cx, app, id).await.unwrap_err().code, ErrorCode::NotFound);
    let left = feed::range(&bench.app, bench.cluster(), "/", Some("0"), None).await.unwrap();
    assert!(left.entries.iter().all(|entry| !entry.key.contains(&app.to_string())));
}

async fn a_draft_takes_its_keys_back(database: Database) {
    let bench = Bench::new(database).await;
    let app = bench.application("orders").await;
    let id = bench.api(app, "list").await;
    let dump = async || debug::dump(&bench.cx, bench.cluster(), "api", id).await.unwrap();
    assert_eq!(dump().await["routes"].as_array().map(Vec::len), Some(1));
    let draft = parse(json!({"active": 1}));
    application::patch(&bench.cx, bench.cluster(), app, draft).await.unwrap();
    assert_eq!(dump().await["routes"], json!([]));
    let published = parse(json!({"active": 0}));
    let written = application::patch(&bench.cx, bench.cluster(), app, published).await.unwrap();
    assert_eq!(dump().await["routes"][0]["mod_revision"], written.revision);
    let same = parse(json!({"active": 0}));
    let again = application::patch(&bench.cx, bench.cluster(), app, same).await.unwrap();
    assert_eq!(again.revision, written.revision, "nothing that gateways see changed");
}

async fn credentials_are_unique_and_masked(database: Database) {
    let bench = Bench::new(database).await;
    let spec = consumer_spec("alice", "canary-key-1");
    let alice = consumer::create(&bench.cx, bench.cluster(), spec).await.unwrap().value;
    assert_eq!(alice.spec.credentials["key-auth"]["key"], "******");
    let spec = consumer_spec("bob", "canary-key-1");
    let twice = consumer::create(&bench.cx, bench.cluster(), spec).await.unwrap_err();
    assert_eq!(twice.code, ErrorCode::Conflict);
    let before = debug::dump(&bench.cx, bench.cluster(), "consumer", alice.id).await.unwrap();
    let replaced = consumer::replace(&bench.cx, bench.cluster(), alice.id, alice.spec).await;
    replaced.unwrap();
    let after = debug::dump(&bench.cx, bench.cluster(), "consumer", alice.id).await.unwrap();
    assert_eq!(before, after, "a mask keeps the stored secret");
    let renamed = consumer_spec("carol", "other-key");
    let refused = consumer::replace(&bench.cx, bench.cluster(), alice.id, renamed).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidArgument);
}

async fn names_are_ordered_alike_on_both_engines(database: Database) {
    let bench = Bench::new(database).await;
    for name in ["beta", "Alpha", "alpha2", "Beta2", "a-z", "a_z", "Zeta"] {
        bench.application(name).await;
    }
    let direction = gantry_model::Direction::Asc;
    let query = ListQuery { order_by: Some("name".into()), direction, ..ListQuery::default() };
    let page = application::list(&bench.cx, bench.cluster(), &query).await.unwrap();
    let names: Vec<String> = page.list.into_iter().map(|one| one.spec.name).collect();
    assert_eq!(names, ["Alpha", "Beta2", "Zeta", "a-z", "a_z", "alpha2", "beta", "demo"]);
}

async fn a_prefix_that_an_api_cannot_bear_is_refused(database: Database) {
    let bench = Bench::new(database).await;
    let app = bench.application("orders").await;
    let mut long = api_spec("long");
    long.paths[0].path = format!("/{}", "x".repeat(4090));
    api::create(&bench.cx, app, long).await.unwrap();
    let prefix = parse(json!({"path_prefix": "/a-longer-prefix"}));
    let refused = application::patch(&bench.cx, bench.cluster(), app, prefix).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    let sentence = "the API `long` does not fit the changed application: `paths[0].path`";
    assert!(refused.message.contains(sentence), "{}", refused.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_file_shows_no_secret() {
    let bench = Bench::new(Database::Sqlite).await;
    let spec = consumer_spec("alice", "canary-7f3a");
    consumer::create(&bench.cx, bench.cluster(), spec).await.unwrap();
    let app = bench.application("orders").await;
    let mut spec = api_spec("list");
    spec.plugins = parse(json!({"jwt-auth": {}, "proxy-rewrite": {"headers":
        {"set": {"x-secret": "canary-7f3a"}}}}));
    api::create(&bench.cx, app, spec).await.unwrap();
    bench.app.close().await;
    let mut seen = 0;
    for file in fs::read_dir(bench.dir.path()).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        seen += bytes.len();
        assert!(!bytes.windows(11).any(|window| window == b"canary-7f3a"));
    }
    assert!(seen > 100_000, "the files were read");
}
