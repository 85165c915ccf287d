//! How SQLite carries queries out: none may read a table that grows from one end to the other.

use std::collections::BTreeSet;

use gantry_model::{Direction, Id, ListQuery, Timestamp};

use crate::db::{Sql, Val, vals};
use crate::resource::Kind;
use crate::{Db, Tx};

/// Tables that stay small, or that a query is about as a whole.
const SMALL: [&str; 2] = ["regions", "r"];

fn id(number: i64) -> Id {
    Id::new(number).expect("an id")
}

/// Lists of every order, direction and filter.
fn questions(orders: &[&str]) -> Vec<ListQuery> {
    let mut questions = Vec::new();
    for order in orders {
        for direction in [Direction::Asc, Direction::Desc] {
            let plain = ListQuery {
                order_by: Some((*order).to_owned()),
                direction,
                ..ListQuery::default()
            };
            let search = ListQuery { search: "orders".to_owned(), ..plain.clone() };
            let labels = ListQuery { labels: vec!["a".to_owned()], ..plain.clone() };
            let active = ListQuery { active: Some(1), ..plain.clone() };
            let far = ListQuery { page: 9, ..search.clone() };
            questions.extend([plain, search, labels, active, far]);
        }
    }
    questions
}

async fn lists_of_resources(tx: &mut Tx) -> gantry_model::Result<()> {
    use crate::{canary_release, reference, resource};
    let kinds = [
        (Kind::Application, "path_prefix"),
        (Kind::Api, "name"),
        (Kind::Consumer, "name"),
        (Kind::Certificate, "not_after"),
        (Kind::LogCollection, "name"),
        (Kind::ServiceRegistry, "name"),
        (Kind::CanaryRelease, "name"),
    ];
    for (kind, order) in kinds {
        for query in questions(&["updated_at", "created_at", "name", order]) {
            resource::list(tx, kind, id(1), &query).await?;
        }
        resource::children(tx, kind, id(1)).await?;
        resource::all(tx, kind, id(1)).await?;
        resource::labels(tx, id(1), kind).await?;
    }
    for query in questions(&["updated_at", "created_at", "name"]) {
        resource::list_in_cluster(tx, id(1), &query).await?;
        for kind in [Kind::Application, Kind::Api] {
            resource::list_of_service_admin(tx, kind, id(1), id(2), &query).await?;
        }
    }
    resource::find(tx, Kind::Api, id(1)).await?;
    resource::find_many(tx, Kind::Api, &[id(1), id(2)]).await?;
    resource::find_named(tx, Kind::Api, id(1), "a").await?;
    resource::has_children(tx, Kind::Api, id(1)).await?;
    let labels = BTreeSet::from(["a".to_owned()]);
    reference::referrers(tx, id(1)).await?;
    reference::naming(tx, id(1), &labels).await?;
    reference::labelled_consumers(tx, id(1), &labels).await?;
    canary_release::open(tx, &[id(1)]).await?;
    canary_release::in_progress(tx, id(1)).await?;
    resource::serving(tx, id(1), Kind::Certificate, &["a".to_owned()]).await?;
    let hash = ("key-auth".to_owned(), "hash".to_owned());
    resource::taken_credential(tx, id(1), id(2), &[hash]).await?;
    Ok(())
}

async fn other_lists(tx: &mut Tx) -> gantry_model::Result<()> {
    use crate::{
        access_token, alert_history, alert_policy, cluster, member, region, service_admin,
    };
    for query in questions(&["updated_at", "created_at", "name", "id"]) {
        let unlabelled = ListQuery { labels: Vec::new(), active: None, ..query };
        cluster::list(tx, id(1), None, &unlabelled).await?;
        cluster::list(tx, id(1), Some(id(2)), &unlabelled).await?;
        alert_policy::list(tx, id(1), &unlabelled).await?;
        alert_history::list(tx, id(1), &unlabelled).await?;
        service_admin::list(tx, id(1), &unlabelled).await?;
        region::list(tx, &unlabelled).await?;
        let all = ListQuery { search: String::new(), ..unlabelled };
        member::list(tx, id(1), None, &all).await?;
        member::list(tx, id(1), Some("owner"), &all).await?;
        access_token::list(tx, "a", &all).await?;
    }
    Ok(())
}

async fn logs_and_people(tx: &mut Tx) -> gantry_model::Result<()> {
    use crate::{audit, instance, member, receipt, revision, service_admin, session, user};
    member::of_user(tx, "a").await?;
    service_admin::applications(tx, id(1), id(2)).await?;
    instance::list(tx, id(1)).await?;
    instance::find(tx, id(1), "a").await?;
    receipt::of_revision(tx, id(1), 2).await?;
    receipt::revision_before(tx, id(1), "a", 2).await?;
    revision::find(tx, id(1), 2).await?;
    revision::next(tx, id(1), 2).await?;
    audit::newest(tx, id(1), 10).await?;
    audit::after(tx, "cluster/1", 1, 10).await?;
    audit::count(tx, "cluster/1").await?;
    revision::range(tx, id(1), "/a", "/b").await?;
    revision::keys(tx, id(1), &["/a", "/b"]).await?;
    revision::changes(tx, id(1), 1, 2).await?;
    revision::state_at(tx, id(1), "/a", "/b", 2).await?;
    session::user(tx, id(1), Timestamp::from_micros(1)).await?;
    user::find_by_email(tx, "alice@example.com").await?;
    Ok(())
}

/// Every query that was asked, with the steps of its plan.
async fn plans(tx: &mut Tx) -> Vec<(String, Vec<String>)> {
    let mut asked = std::mem::take(&mut tx.asked);
    asked.sort();
    asked.dedup();
    let mut plans = Vec::new();
    for sql in asked {
        let explain = Sql::assembled(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = tx.all(explain, vec![Val::Int(None); 64]).await.expect("a plan");
        let steps = rows.iter().map(|row| row.text("detail").expect("a step")).collect();
        plans.push((sql, steps));
    }
    plans
}

/// Whether a step reads all of a table that grows, or of an index of one.
fn is_slow(step: &str) -> bool {
    let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
    // `used` is made by the query itself; a constant row is no table.
    scanned.is_some_and(|table| !SMALL.contains(&table) && !["used", "CONSTANT"].contains(&table))
}

#[tokio::test]
async fn no_list_reads_a_whole_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open_sqlite(&folder.path().join("gantry.db")).await.expect("a database");
    let mut tx = db.read().await.expect("a connection");
    lists_of_resources(&mut tx).await.expect("lists");
    other_lists(&mut tx).await.expect("lists");
    logs_and_people(&mut tx).await.expect("lists");
    let plans = plans(&mut tx).await;
    assert!(plans.len() > 60, "{} queries were asked", plans.len());
    for (sql, steps) in &plans {
        assert!(!steps.iter().any(|step| is_slow(step)), "{sql}\n{steps:#?}");
    }
    // Filters look at index entries only; nothing but the page itself is read from the table, and
    // nothing but the page is sorted.
    let filtered = plans.iter().filter(|(sql, _)| sql.contains("FROM resources t WHERE"));
    // Who looks after some applications has few of them: those are looked up.
    for (sql, steps) in filtered.filter(|(sql, _)| !sql.contains("service_admins")) {
        let covered = steps.iter().any(|step| step.starts_with("SEARCH t USING COVERING INDEX"));
        assert!(covered, "{sql}\n{steps:#?}");
    }
}

#[tokio::test]
async fn a_list_without_an_index_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Db::open_sqlite(&folder.path().join("gantry.db")).await.expect("a database");
    let mut tx = db.read().await.expect("a connection");
    tx.all("SELECT id FROM resources WHERE search_text = 'a'", vals![]).await.expect("a list");
    let plans = plans(&mut tx).await;
    assert!(plans.iter().flat_map(|(_, steps)| steps).any(|step| is_slow(step)), "{plans:?}");
}
