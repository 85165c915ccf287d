//! Lists against a filter in memory: random resources, random questions, both engines.

use std::cmp::Ordering;

use gantry_model::page::folded;
use gantry_model::{Direction, Id, ListQuery, Timestamp};
use gantry_store::Db;
use gantry_store::resource::{self, Kind, ResourceRow};
use gantry_testkit::database::Database;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::harness::{Bench, on_both_engines};

on_both_engines! {
    lists_equal_a_filter_in_memory
    counts_follow_every_write
}

const ROWS: usize = 150;
const QUESTIONS: usize = 300;

/// Letters that have been trouble somewhere: wildcards, two lower cases, more bytes in lower case.
const LETTERS: [&str; 20] = [
    "a", "A", "b", "ab", "Ä", "ä", "ß", "İ", "Σ", "σ", "ς", "%", "_", "\\", "/", "-", "日", "1",
    "'", "\n",
];
const LABELS: [&str; 5] = ["a", "A", "a_b", "axb", "prod"];

struct Listed {
    row: ResourceRow,
    labels: Vec<String>,
}

fn text(letters: usize) -> impl Strategy<Value = String> {
    vec(select(&LETTERS[..]), 0..letters).prop_map(|letters| letters.concat())
}

fn labels(most: usize) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(&LABELS[..], 0..=most)
        .prop_map(|labels| labels.into_iter().map(str::to_owned).collect())
}

fn sample<S: Strategy>(runner: &mut TestRunner, strategy: S) -> S::Value {
    strategy.new_tree(runner).unwrap().current()
}

fn listed(runner: &mut TestRunner, number: usize, cluster: Id) -> Listed {
    let (name, more, labels, active, kind, times) =
        sample(runner, (text(8), text(12), labels(3), 0..2_u8, 0..4_usize, (0..9_i64, 0..9_i64)));
    let id = Id::new(1_000 + i64::try_from(number).unwrap()).unwrap();
    let kind = [Kind::Application, Kind::Api, Kind::Api, Kind::Consumer][kind];
    let parent = Id::new(10 + i64::try_from(number % 2).unwrap()).unwrap();
    let name = format!("{name}{number}");
    let row = ResourceRow {
        id,
        kind,
        cluster_id: cluster,
        parent_id: if kind == Kind::Api { parent } else { cluster },
        search_text: folded(&format!("{name}\n{more}")),
        name: Some(name),
        active,
        sort_text: more,
        sort_number: 0,
        label_text: resource::label_text(&labels),
        spec_sealed: "sealed".to_owned(),
        created_at: Timestamp::from_micros(times.0),
        updated_at: Timestamp::from_micros(times.1),
    };
    Listed { row, labels }
}

fn question(runner: &mut TestRunner, kind: Kind) -> ListQuery {
    let mut orders = vec!["updated_at", "created_at", "name"];
    if kind == Kind::Application {
        orders.push("path_prefix");
    }
    let (search, labels, active, order, page, page_size) = sample(
        runner,
        (
            prop_oneof![Just(String::new()), text(3)],
            prop_oneof![3 => Just(Vec::new()), 1 => labels(2)],
            prop_oneof![2 => Just(None), 1 => (0..2_u8).prop_map(Some)],
            (select(orders), any::<bool>(), any::<bool>()),
            prop_oneof![1..4_u32, 1..100_u32],
            select(vec![1, 2, 7, 10, 1000_u32]),
        ),
    );
    let (order_by, is_default, ascending) = order;
    ListQuery {
        page,
        page_size,
        order_by: (!is_default).then(|| order_by.to_owned()),
        direction: if ascending { Direction::Asc } else { Direction::Desc },
        search,
        labels,
        active,
    }
}

fn answer(rows: &[Listed], owner: Id, kind: Kind, query: &ListQuery) -> (Vec<Id>, i64) {
    let mut found: Vec<&Listed> = rows
        .iter()
        .filter(|one| one.row.kind == kind)
        .filter(|one| one.row.parent_id == owner || one.row.cluster_id == owner)
        .filter(|one| one.row.search_text.contains(&folded(&query.search)))
        .filter(|one| query.labels.iter().all(|label| one.labels.contains(label)))
        .filter(|one| query.active.is_none_or(|active| one.row.active == active))
        .collect();
    found.sort_by(|a, b| {
        let by_field = compare(&a.row, &b.row, query.order_by.as_deref());
        let both = by_field.then(a.row.id.cmp(&b.row.id));
        if query.direction == Direction::Asc { both } else { both.reverse() }
    });
    let (offset, limit) = (query.offset(), query.limit());
    let page = found.iter().skip(usize::try_from(offset).unwrap());
    let page = page.take(usize::try_from(limit).unwrap()).map(|one| one.row.id).collect();
    (page, i64::try_from(found.len()).unwrap())
}

fn compare(a: &ResourceRow, b: &ResourceRow, field: Option<&str>) -> Ordering {
    match field {
        Some("created_at") => a.created_at.cmp(&b.created_at),
        Some("name") => a.name.cmp(&b.name),
        Some("path_prefix") => a.sort_text.cmp(&b.sort_text),
        _ => a.updated_at.cmp(&b.updated_at),
    }
}

async fn filled(db: &Db, runner: &mut TestRunner, cluster: Id) -> Vec<Listed> {
    let rows: Vec<Listed> = (0..ROWS).map(|number| listed(runner, number, cluster)).collect();
    let stored: Vec<ResourceRow> = rows.iter().map(|one| one.row.clone()).collect();
    db.write(|tx| {
        Box::pin(async move {
            for row in &stored {
                resource::insert(tx, row).await?;
            }
            Ok(())
        })
    })
    .await
    .unwrap();
    rows
}

async fn ask(db: &Db, kind: Kind, owner: Id, cluster: Id, query: &ListQuery) -> (Vec<Id>, i64) {
    let mut tx = db.read().await.unwrap();
    let found = if kind == Kind::Api && owner == cluster {
        resource::list_in_cluster(&mut tx, cluster, query).await
    } else {
        resource::list(&mut tx, kind, owner, query).await
    };
    let (rows, count) = found.unwrap();
    (rows.iter().map(|row| row.id).collect(), count)
}

async fn lists_equal_a_filter_in_memory(database: Database) {
    let bench = Bench::new(database).await;
    let (db, cluster) = (bench.store().await, bench.cluster());
    let mut runner = TestRunner::deterministic();
    let mut rows = filled(&db, &mut runner, cluster).await;
    // What the first start made is listed as well.
    rows.retain(|one| one.row.kind != Kind::Certificate);
    for kind in [Kind::Application, Kind::Api, Kind::Consumer] {
        let mut tx = db.read().await.unwrap();
        for row in resource::all(&mut tx, kind, cluster).await.unwrap() {
            if rows.iter().all(|one| one.row.id != row.id) {
                let labels = row.label_text.split_terminator('\n').skip(1).map(str::to_owned);
                rows.push(Listed { labels: labels.collect(), row });
            }
        }
    }
    let mut found = 0;
    for _ in 0..QUESTIONS {
        let kind = sample(&mut runner, select(vec![Kind::Application, Kind::Api, Kind::Consumer]));
        let owners =
            if kind == Kind::Api { vec![cluster, Id::new(10).unwrap()] } else { vec![cluster] };
        let owner = sample(&mut runner, select(owners));
        let query = question(&mut runner, kind);
        let wanted = answer(&rows, owner, kind, &query);
        found += wanted.0.len();
        assert_eq!(ask(&db, kind, owner, cluster, &query).await, wanted, "{kind:?} {query:?}");
    }
    assert!(found > QUESTIONS, "the questions were too hard: {found} rows found");
    let impossible = ListQuery { search: "a\0".to_owned(), ..ListQuery::default() };
    assert_eq!(ask(&db, Kind::Consumer, cluster, cluster, &impossible).await, (Vec::new(), 0));
}

async fn counts_follow_every_write(database: Database) {
    let bench = Bench::new(database).await;
    let (db, cluster) = (bench.store().await, bench.cluster());
    let kept = bench.application("kept").await;
    let gone = bench.application("gone").await;
    for number in 0..3 {
        bench.api(kept, &format!("kept-{number}")).await;
        bench.api(gone, &format!("gone-{number}")).await;
    }
    let first = bench.api(kept, "first").await;
    let all = ListQuery::default();
    let count = async |kind, owner| ask(&db, kind, owner, cluster, &all).await.1;
    let before = count(Kind::Api, cluster).await;
    assert_eq!(count(Kind::Api, kept).await, 4);
    gantry_app::api::delete(&bench.cx, kept, first).await.unwrap();
    assert_eq!(count(Kind::Api, kept).await, 3);
    let applications = count(Kind::Application, cluster).await;
    gantry_app::application::delete(&bench.cx, cluster, gone, true).await.unwrap();
    assert_eq!(count(Kind::Application, cluster).await, applications - 1);
    assert_eq!(count(Kind::Api, cluster).await, before - 4);
    assert_eq!(count(Kind::Api, gone).await, 0);
    let mut rehearsal = bench.cx.clone();
    rehearsal.dry_run = true;
    gantry_app::api::delete_all(&rehearsal, kept).await.unwrap();
    assert_eq!(count(Kind::Api, kept).await, 3);
}
