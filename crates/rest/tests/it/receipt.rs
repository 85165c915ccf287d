//! Writes that wait for gateways, and what gateways say of a revision.

use gantry_app::{App, Config, feed};
use gantry_testkit::Database;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, application, on_both, on_both_at};
use crate::heartbeat::{door, report_of_run};

const RUN: &str = "3f2b8c1e-5d1f-4a52-9a44-0d6c7e0f9b11";

/// A gateway of the owner's cluster that says what the test wants.
struct Gateway {
    url: String,
    id: &'static str,
    run: &'static str,
}

impl Gateway {
    async fn start(server: &Server, id: &'static str) -> Self {
        let url = door(&server.app, &server.owner).await;
        let gateway = Self { url, id, run: RUN };
        gateway.apply(server.owner.revision().await, "", json!([])).await;
        gateway
    }

    /// Says that it uses a revision; answers what it is told.
    async fn apply(&self, revision: i64, digest: &str, problems: Value) -> Value {
        let body = json!({
            "id": self.id, "hostname": format!("host-{}", self.id), "ip": "10.0.0.1",
            "version": "Gantry/0.1.0", "etcd_reachable": true, "config_version": revision,
            "digest": digest, "problems": problems,
        });
        report_of_run(&self.url, self.run, &body).await.ok().clone()
    }
}

/// Waits until the owner's cluster has a revision after `before`, as a gateway would.
async fn next_revision(server: &Server, before: i64) -> i64 {
    let cluster = server.owner.cluster.parse().unwrap();
    let feed = feed::open(&server.app, cluster).await.unwrap();
    *feed.changed().wait_for(|newest| *newest > before).await.unwrap()
}

async fn create(owner: &Person, name: &str, query: &str) -> Answer {
    owner.post(&owner.in_cluster(&format!("/apps?wait=applied{query}")), application(name)).await
}

async fn receipts(owner: &Person, revision: i64) -> Value {
    let path = owner.in_cluster(&format!("/revisions/{revision}/receipts"));
    owner.get(&path).await.ok().clone()
}

#[track_caller]
fn ended(answer: &Answer, outcome: &str, applied: u64) -> Vec<(String, String)> {
    answer.ok();
    let delivery = &answer.body["delivery"];
    assert_eq!(answer.headers["gantry-delivery"], outcome, "{delivery}");
    assert_eq!(delivery["outcome"], outcome);
    assert_eq!(delivery["applied"], applied, "{delivery}");
    assert_eq!(delivery["revision"], answer.revision());
    let missing = delivery["missing"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    missing.map(|one| (text(&one["instance_id"]), text(&one["state"]))).collect()
}

#[tokio::test]
async fn a_write_is_answered_when_every_gateway_has_applied_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let gateways = [Gateway::start(&server, "a").await, Gateway::start(&server, "b").await];
        let before = owner.revision().await;
        let (answer, digest) = tokio::join!(create(owner, "shop", "&timeout=50"), async {
            let revision = next_revision(&server, before).await;
            let digest = receipts(owner, revision).await["digest"].as_str().unwrap().to_owned();
            for gateway in &gateways {
                gateway.apply(revision, &digest, json!([])).await;
            }
            digest
        });
        assert_eq!(ended(&answer, "applied", 2), []);
        assert_eq!(answer.body["delivery"]["wanted"], 2);
        let told = receipts(owner, answer.revision()).await;
        assert_eq!(told["operation"], "createApplication");
        assert_eq!(told["count"], 2);
        for receipt in told["list"].as_array().unwrap() {
            assert_eq!(receipt["state"], "applied");
            assert_eq!(receipt["digest"], digest.as_str());
            assert!(receipt["after_ms"].is_number() && receipt["applied_at"].is_string());
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_gateways_when_the_server_stops() {
    on_both(|server| async move {
        let owner = &server.owner;
        let _silent = Gateway::start(&server, "silent").await;
        let before = owner.revision().await;
        let waiting = async {
            tokio::join!(create(owner, "shop", "&timeout=50"), async {
                next_revision(&server, before).await;
                server.app.dismiss_waiting();
            })
        };
        let told = tokio::time::timeout(std::time::Duration::from_secs(25), waiting).await;
        let (answer, ()) = told.expect("an answer before the write's own time is over");
        assert_eq!(ended(&answer, "timeout", 0), [("silent".into(), "behind".into())]);
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_stopped_is_named_and_the_write_stays() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (alive, _stopped) =
            (Gateway::start(&server, "alive").await, Gateway::start(&server, "stopped").await);
        let before = owner.revision().await;
        let (answer, ()) = tokio::join!(create(owner, "shop", "&timeout=1"), async {
            alive.apply(next_revision(&server, before).await, "", json!([])).await;
        });
        assert_eq!(ended(&answer, "timeout", 1), [("stopped".into(), "behind".into())]);
        owner.get(&owner.in_cluster(&format!("/apps/{}", answer.id()))).await.ok();
    })
    .await;
}

#[tokio::test]
async fn a_share_of_the_gateways_is_enough_where_it_is_asked_for() {
    on_both(|server| async move {
        let owner = &server.owner;
        let fast = Gateway::start(&server, "fast").await;
        for id in ["slow", "slower"] {
            Gateway::start(&server, id).await;
        }
        let before = owner.revision().await;
        let (answer, ()) = tokio::join!(create(owner, "shop", "&nodes=33%25&timeout=50"), async {
            fast.apply(next_revision(&server, before).await, "", json!([])).await;
        });
        let missing = ended(&answer, "applied", 1);
        assert_eq!(missing.len(), 2);
        assert_eq!(answer.body["delivery"]["wanted"], 1);
        // One more percent are two gateways.
        let short = create(owner, "second", "&nodes=34%25&timeout=1").await;
        assert_eq!(short.body["delivery"]["wanted"], 2);
        ended(&short, "timeout", 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_gateway_cannot_use_ends_the_wait_and_is_told() {
    on_both(|server| async move {
        let owner = &server.owner;
        let gateway = Gateway::start(&server, "a").await;
        let before = owner.revision().await;
        let old = json!({ "key": "/apisix/routes/1", "reason": "old", "revision": before });
        let (answer, ()) = tokio::join!(create(owner, "shop", "&timeout=50"), async {
            let revision = next_revision(&server, before).await;
            let new = json!({ "key": "/apisix/services/2", "reason": "no", "revision": revision });
            gateway.apply(revision, "", json!([old, new])).await;
        });
        assert_eq!(ended(&answer, "refused", 0), [("a".into(), "refused".into())]);
        let problems = answer.body["delivery"]["missing"][0]["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "problems of earlier revisions are not this one's");
        assert_eq!(problems[0]["reason"], "no");
        // It is used as it should be later on: the same revision is applied then.
        gateway.apply(answer.revision(), "", json!([])).await;
        let receipt = &receipts(owner, answer.revision()).await["list"][0];
        assert_eq!(receipt["state"], "applied");
    })
    .await;
}

#[tokio::test]
async fn gateways_that_have_been_silent_are_named_and_not_waited_for() {
    on_both_at(1_800_000_000, |server| async move {
        let owner = &server.owner;
        let nobody = create(owner, "first", "").await;
        assert_eq!(ended(&nobody, "no_gateways", 0), []);
        let silent = Gateway::start(&server, "silent").await;
        server.clock.turn(31);
        let answer = create(owner, "second", "").await;
        assert_eq!(ended(&answer, "no_gateways", 0), [("silent".into(), "silent".into())]);
        server.clock.turn(9);
        let listed = owner.get(&owner.in_cluster("/instances")).await;
        let instance = &listed.ok()["list"][0];
        assert_eq!(instance["status"], "Lost Connection");
        assert_eq!(instance["behind"], json!({ "revisions": 1, "seconds": 9 }));
        // The way is open again, and still the revision has not come: that is not normal.
        let told = silent.apply(answer.revision() - 1, "", json!([])).await;
        assert_eq!(told["resync"], true);
        assert_eq!(silent.apply(answer.revision(), "", json!([])).await["resync"], false);
        let listed = owner.get(&owner.in_cluster("/instances")).await;
        assert_eq!(listed.ok()["list"][0].get("behind"), None);
        let receipt = &receipts(owner, answer.revision()).await["list"][0];
        assert_eq!((&receipt["state"], &receipt["after_ms"]), (&json!("applied"), &json!(9000)));
    })
    .await;
}

#[tokio::test]
async fn a_gateway_that_skipped_revisions_has_applied_them_too() {
    on_both(|server| async move {
        let owner = &server.owner;
        let gateway = Gateway::start(&server, "a").await;
        owner.application("one").await;
        let first = owner.revision().await;
        owner.application("two").await;
        let second = owner.revision().await;
        let problem = json!({ "key": "/apisix/services/1", "reason": "no", "revision": first });
        gateway.apply(second, "", json!([problem])).await;
        assert_eq!(receipts(owner, first).await["list"][0]["state"], "refused");
        assert_eq!(receipts(owner, second).await["list"][0]["state"], "applied");
        // A gateway that starts again from its disk uses the older one for a while.
        let again = Gateway { run: "5b0f4a0e-6f0e-4f58-8a1c-0f6a3e5a2d47", ..gateway };
        again.apply(first, "", json!([])).await;
        assert_eq!(receipts(owner, second).await["list"][0]["state"], "behind");
        let unknown = owner.in_cluster(&format!("/revisions/{}/receipts", second + 1));
        owner.get(&unknown).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn waits_out_of_bounds_are_refused_and_dry_runs_do_not_wait() {
    on_both(|server| async move {
        let owner = &server.owner;
        Gateway::start(&server, "a").await;
        let before = owner.revision().await;
        for (query, field) in [
            ("wait=soon", "`wait`"),
            ("wait=applied&nodes=0%", "`nodes`"),
            ("wait=applied&nodes=101%", "`nodes`"),
            ("wait=applied&timeout=51", "`timeout`"),
        ] {
            let path = owner.in_cluster(&format!("/apps?{}", query.replace('%', "%25")));
            let answer = owner.call(Method::POST, &path, Some(application("shop"))).await;
            assert!(answer.refused(400, 2).contains(field), "{query}: {:#}", answer.body);
        }
        let dry = create(owner, "shop", "&dry_run=true").await;
        assert!(dry.body["preview"].is_object() && dry.body.get("delivery").is_none());
        assert_eq!(owner.revision().await, before);
    })
    .await;
}

/// Nothing tells this server that the other one has heard from the gateway; it looks.
#[tokio::test]
async fn a_gateway_may_report_to_another_server() {
    let server = Server::start(Database::postgres()).await;
    let owner = &server.owner;
    let mut config = Config::new(server.folder());
    config.database = server.database.url().map(str::to_owned);
    let other = App::open(config).await.unwrap();
    let gateway = Gateway { url: door(&other, owner).await, id: "elsewhere", run: RUN };
    let before = owner.revision().await;
    gateway.apply(before, "", json!([])).await;
    let (answer, ()) = tokio::join!(create(owner, "shop", "&timeout=50"), async {
        gateway.apply(next_revision(&server, before).await, "", json!([])).await;
    });
    assert_eq!(ended(&answer, "applied", 1), []);
}
