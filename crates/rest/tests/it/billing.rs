//! Plans: what they allow, what they cost, and how an organization changes to another.

use gantry_app::billing::Plans;
use gantry_testkit::{Database, client};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, api, application};
use crate::heartbeat::{door, report};

const PLANS: &str = "
plans:
- id: 1
  name: Free
  description: To try things out.
  quotas: {clusters: 1, applications: 2, apis: 1, consumers: 1, api_calls_per_month: 1000}
  excluded_plugins: [acl, csrf, ip-restriction, error-page]
- id: 2
  name: Basic
  price_per_million_calls: 150
  currency: eur
- {id: 3, name: Trial, duration_days: 14}
";

/// Runs a story on both databases, on an installation with [`PLANS`].
async fn with_plans<F: Future<Output = ()>>(story: impl Fn(Server) -> F) {
    for database in [Database::Sqlite, Database::postgres()] {
        let set = |config: &mut gantry_app::Config| config.plans = Plans::parse(PLANS).unwrap();
        story(Server::start_with(database, set).await).await;
    }
}

fn of(owner: &Person, rest: &str) -> String {
    format!("/orgs/{}{rest}", owner.org)
}

async fn subscribe(owner: &Person, plan: &str) -> Answer {
    owner.post(&of(owner, "/subscriptions"), json!({ "plan": plan })).await
}

/// Reports API calls of a gateway of the owner's cluster.
async fn calls(server: &Server, count: i64) {
    let url = door(&server.app, &server.owner).await;
    let heartbeat = json!({ "id": "gw-1", "hostname": "host", "ip": "10.0.0.1", "api_calls": count,
        "version": "gantry/0.1.0", "etcd_reachable": true, "config_version": 1 });
    report(&url, &heartbeat).await.ok();
}

#[tokio::test]
async fn without_a_file_there_is_one_plan_without_limits() {
    crate::harness::on_both(|server| async move {
        let owner = &server.owner;
        let plan = owner.get(&of(owner, "/plan")).await;
        assert_eq!(plan.ok()["name"], "Self-hosted");
        assert_eq!(plan.ok()["id"], owner.get(&of(owner, "")).await.ok()["plan_id"]);
        assert_eq!(plan.ok()["quotas"], json!({}));
        let invoice = owner.get(&of(owner, "/invoices/upcoming")).await;
        assert_eq!(invoice.ok()["amount_due"], 0);
        assert_eq!(invoice.ok()["next_payment_attempt"], Value::Null);
        let path = of(owner, "/customer_portal");
        let request = owner.request(Method::GET, &path).bearer_auth(&owner.token);
        let answer = request.send().await.unwrap();
        let page = format!("{}/billing/{}", server.base, owner.org);
        assert_eq!(answer.status().as_u16(), 302);
        assert_eq!(answer.headers()["location"], page);
        let page = client().get(format!("{}/billing/{}", server.base, owner.org)).send().await;
        assert!(page.unwrap().text().await.unwrap().contains("Plan and usage"));
    })
    .await;
}

#[tokio::test]
async fn quotas_are_enforced_and_named() {
    with_plans(|server| async move {
        let owner = &server.owner;
        let plan = owner.get(&of(owner, "/plan")).await;
        assert_eq!(plan.ok()["quotas"]["applications"], 2);
        let first = owner.application("first").await;
        let second = owner.application("second").await;
        let revision = owner.revision().await;
        let third = owner.post(&owner.in_cluster("/apps"), application("third")).await;
        let message = third.refused(403, 8);
        for part in ["`applications`", "plan `Free` is 2", "organization has 2"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        assert_eq!(owner.revision().await, revision);
        owner.post(&format!("/apps/{first}/apis"), api("a")).await.ok();
        let other = owner.post(&format!("/apps/{second}/apis"), api("b")).await;
        assert!(other.refused(403, 8).contains("`apis`"));
        let cluster = owner.post(&of(owner, "/clusters"), json!({ "name": "second" })).await;
        assert!(cluster.refused(403, 8).contains("`clusters`"));
        owner.delete(&owner.in_cluster(&format!("/apps/{second}"))).await.ok();
        owner.application("third").await;
        server.stranger.application("theirs").await;

        let dry = of(owner, "/subscriptions?dry_run=true");
        owner.post(&dry, json!({ "plan": "2" })).await.ok();
        assert_eq!(owner.get(&of(owner, "/plan")).await.ok()["name"], "Free");
        let unknown = subscribe(owner, "Gold").await;
        assert!(
            unknown.refused(400, 2).contains("`plan` must be the name or id of a plan: `Free`")
        );
        subscribe(owner, "Basic").await.ok();
        subscribe(owner, "2").await.refused(409, 3);
        let organization = owner.get(&of(owner, "")).await;
        assert_eq!(organization.ok()["plan_id"], "2");
        assert!(organization.ok()["subscription_started_at"].is_string());
        owner.application("fourth").await;
        subscribe(owner, "Free").await.ok();
        let fifth = owner.post(&owner.in_cluster("/apps"), application("fifth")).await;
        assert!(fifth.refused(403, 8).contains("organization has 3"));
        subscribe(owner, "Trial").await.ok();
        assert!(owner.get(&of(owner, "")).await.ok()["plan_expire_time"].is_string());
    })
    .await;
}

#[tokio::test]
async fn two_who_come_at_once_cannot_both_be_the_last() {
    with_plans(|server| async move {
        let owner = &server.owner;
        subscribe(owner, "Basic").await.ok();
        let made = owner.post(&of(owner, "/clusters"), json!({ "name": "second" })).await.id();
        subscribe(owner, "Free").await.ok();
        owner.application("first").await;
        let paths = [owner.in_cluster("/apps"), format!("/clusters/{made}/apps")];
        let creates = (0..8).map(|number| {
            let (path, body) = (&paths[number % 2], application(&format!("n{number}")));
            async move { owner.post(path, body).await.status }
        });
        let mut statuses = futures::future::join_all(creates).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [[200].as_slice(), &[403; 7]].concat());
    })
    .await;
}

#[tokio::test]
async fn plugins_that_the_plan_excludes_cannot_be_used() {
    with_plans(|server| async move {
        let owner = &server.owner;
        let available = owner.get(&of(owner, "/plugins")).await.names();
        assert!(!available.contains(&"csrf".to_owned()) && available.contains(&"cors".to_owned()));
        let guarded = |plugins: Value| {
            let mut body = application("shop");
            body["plugins"] = plugins;
            body
        };
        let restriction = json!({ "ip-restriction": { "whitelist": ["10.0.0.0/8"] } });
        let acl = json!({ "acl": { "mode": "Deny", "denied_consumers": ["alice"] } });
        for plugins in [&restriction, &acl] {
            let name = plugins.as_object().unwrap().keys().next().unwrap();
            let refused = owner.post(&owner.in_cluster("/apps"), guarded(plugins.clone())).await;
            let message = refused.refused(403, 9);
            for part in [format!("`plugins.{name}`"), "plan `Free`".into()] {
                assert!(message.contains(&part), "{part} is not in: {message}");
            }
            owner.patch(&owner.in_cluster("/plugins"), plugins.clone()).await.refused(403, 9);
        }
        let load = json!({ "name": "error-page" });
        let loaded = owner.post(&owner.in_cluster("/plugin_management"), load).await;
        assert!(loaded.refused(403, 9).contains("`error-page`"));

        subscribe(owner, "Basic").await.ok();
        let body = guarded(restriction);
        let shop = owner.post(&owner.in_cluster("/apps"), body.clone()).await.id();
        subscribe(owner, "Free").await.ok();
        let path = owner.in_cluster(&format!("/apps/{shop}"));
        let mut renamed = body.clone();
        renamed["description"] = json!("what was there stays");
        owner.put(&path, renamed).await.ok();
        let mut changed = body;
        changed["plugins"]["ip-restriction"]["whitelist"] = json!(["192.0.2.0/24"]);
        owner.put(&path, changed).await.refused(403, 9);
    })
    .await;
}

#[tokio::test]
async fn reported_calls_are_billed_and_counted_against_the_quota() {
    with_plans(|server| async move {
        let owner = &server.owner;
        calls(&server, 400).await;
        calls(&server, 599).await;
        owner.application("first").await;
        calls(&server, 1).await;
        let second = owner.post(&owner.in_cluster("/apps"), application("second")).await;
        let message = second.refused(403, 8);
        assert!(message.contains("`api_calls_per_month`") && message.contains("has 1000"));
        subscribe(owner, "Basic").await.ok();
        owner.application("second").await;
        calls(&server, 9_000).await;
        let invoice = owner.get(&of(owner, "/invoices/upcoming")).await;
        let invoice = invoice.ok();
        assert_eq!((&invoice["currency"], &invoice["amount_due"]), (&json!("eur"), &json!(2)));
        let line =
            json!({ "description": "API calls, plan Basic", "quantity": 10_000, "amount": 2 });
        assert_eq!(invoice["lines"], json!([line]));
        assert_eq!(invoice["next_payment_attempt"], invoice["period_end"]);
        let others = server.stranger.get(&of(&server.stranger, "/invoices/upcoming")).await;
        assert_eq!(others.ok()["lines"][0]["quantity"], 0);
    })
    .await;
}
