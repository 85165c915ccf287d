//! The life of a canary release.

use serde_json::{Value, json};

use crate::harness::{Answer, Person, application, on_both};

/// An application with the versions `default`, `v2` and `v3`; answers its id.
async fn versioned(owner: &Person, name: &str) -> String {
    let mut body = application(name);
    let first = body["upstreams"][0].clone();
    for version in ["v2", "v3"] {
        let mut other = first.clone();
        other["version"] = json!(version);
        body["upstreams"].as_array_mut().unwrap().push(other);
    }
    owner.post(&owner.in_cluster("/apps"), body).await.id()
}

fn percent(name: &str, version: &str, percent: u8) -> Value {
    json!({ "name": name, "type": "percent", "canary_upstream_version": version, "percent": percent })
}

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

async fn service(owner: &Person, app: &str) -> Value {
    let path = format!("/debug/config/clusters/{}/application/{app}", owner.cluster);
    let dump = owner.get(&path).await;
    serde_json::from_str(dump.ok()["services"][0]["value"].as_str().unwrap()).unwrap()
}

async fn split(owner: &Person, app: &str) -> Value {
    service(owner, app).await["plugins"]["traffic-split"]["rules"].clone()
}

#[tokio::test]
async fn a_canary_release_lives() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        let application = owner.in_cluster(&format!("/apps/{app}"));
        let before = owner.revision().await;

        let begun = with(percent("half", "v2", 50), "state", json!("in_progress"));
        let created = owner.post(&releases, begun.clone()).await;
        assert_eq!(created.ok()["state"], "paused", "never effective at creation");
        assert!(created.body["warning"].as_str().unwrap().contains("begins paused"));
        assert_eq!(
            (created.ok()["app_id"].as_str(), created.ok()["percent"].as_i64()),
            (Some(&*app), Some(50))
        );
        assert_eq!(owner.revision().await, before, "a paused release is nothing to gateways");
        let path = format!("{releases}/{}", created.id());
        assert_eq!(owner.get(&path).await.ok(), created.ok());
        let seen = owner.get(&application).await;
        assert_eq!(seen.ok()["canary_release_id"], json!([]));
        assert_eq!(seen.ok()["canary_upstream_version_list"], json!(["v2"]));

        let started = owner.put(&path, begun.clone()).await;
        assert_eq!(started.ok()["state"], "in_progress");
        assert_eq!(started.revision(), before + 1);
        let rules = split(owner, &app).await;
        let entries = &rules[0]["weighted_upstreams"];
        assert_eq!((&entries[0]["weight"], &entries[1]), (&json!(50), &json!({ "weight": 50 })));
        assert_eq!(owner.get(&application).await.ok()["canary_release_id"], json!([created.id()]));

        owner.put(&path, with(begun.clone(), "percent", json!(100))).await.ok();
        let rules = split(owner, &app).await;
        assert_eq!(rules[0]["weighted_upstreams"].as_array().unwrap().len(), 1, "100 % is all");

        let paused = owner.put(&path, with(begun.clone(), "state", json!("paused"))).await;
        assert_eq!(paused.ok()["state"], "paused");
        assert_eq!(split(owner, &app).await, Value::Null);

        owner.put(&path, begun.clone()).await.ok();
        let old = service(owner, &app).await["upstream_id"].clone();
        let finished = owner.put(&path, with(begun, "state", json!("finished"))).await;
        assert_eq!(finished.ok()["state"], "finished");
        let service = service(owner, &app).await;
        assert_ne!(service["upstream_id"], old);
        assert_eq!(service["plugins"].get("traffic-split"), None);
        let seen = owner.get(&application).await;
        assert_eq!(seen.ok()["default_upstream_version"], "v2");
        assert_eq!(seen.ok()["canary_release_id"], json!([]));
        assert_eq!(seen.ok()["canary_upstream_version_list"], json!([]));

        let revision = owner.revision().await;
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
        assert_eq!(owner.revision().await, revision, "deleting a finished one changes nothing");
    })
    .await;
}

#[tokio::test]
async fn states_follow_each_other_as_documented() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        let body = percent("a", "v2", 10);
        let path = format!("{releases}/{}", owner.post(&releases, body.clone()).await.id());
        let to = |state: &str| with(body.clone(), "state", json!(state));

        let refused = owner.put(&path, to("finished")).await;
        assert!(refused.refused(409, 3).contains("in_progress first"));
        let ruled = json!([{ "subject": "path", "operator": "equal", "value": "/" }]);
        let ruled = with(with(to("paused"), "type", json!("rule")), "expressions", ruled);
        owner.put(&path, with(ruled, "canary_upstream_version", json!("v3"))).await.ok();
        owner.put(&path, to("in_progress")).await.ok();
        let other =
            format!("{releases}/{}", owner.post(&releases, percent("b", "v3", 10)).await.id());
        for (field, value) in [("canary_upstream_version", json!("v3")), ("type", json!("rule"))] {
            let rules = json!([{ "subject": "path", "operator": "equal", "value": "/" }]);
            let body = with(with(to("in_progress"), "expressions", rules), field, value);
            let refused = owner.put(&path, body).await;
            assert!(refused.refused(409, 3).contains("only while"), "{field}");
        }
        owner.put(&path, with(to("in_progress"), "percent", json!(20))).await.ok();

        let second = with(percent("b", "v3", 10), "state", json!("in_progress"));
        let refused = owner.put(&other, second.clone()).await;
        assert!(refused.refused(409, 3).contains("`a`"), "one in progress at a time");
        let same_name = owner.post(&releases, body.clone()).await;
        same_name.refused(409, 3);
        let elsewhere = versioned(owner, "blog").await;
        let elsewhere = format!("/apps/{elsewhere}/canary_releases");
        let there = format!("{elsewhere}/{}", owner.post(&elsewhere, body.clone()).await.id());
        owner.put(&there, to("in_progress")).await.ok();

        // Without a state it stays what it is; the SDK sends an empty text.
        assert_eq!(owner.put(&path, body.clone()).await.ok()["state"], "in_progress");
        assert_eq!(owner.put(&path, to("")).await.ok()["state"], "in_progress");
        owner.put(&path, to("finished")).await.ok();
        owner.put(&other, second).await.ok();
        for state in ["paused", "in_progress"] {
            assert!(owner.put(&path, to(state)).await.refused(409, 3).contains("final"));
        }
        let body = with(to("finished"), "percent", json!(30));
        owner.put(&path, body).await.refused(409, 3);
        assert_eq!(owner.get(&path).await.ok()["percent"], 10);
    })
    .await;
}

#[tokio::test]
async fn the_rules_of_the_sdk_mean_the_same_as_expressions() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        let body = json!({
            "id": "0", "app_id": "0", "status": 0, "created_at": "0001-01-01T00:00:00Z",
            "updated_at": "0001-01-01T00:00:00Z",
            "name": "sdk", "state": "", "type": "rule", "canary_upstream_version": "v2",
            "rules": [
                { "position": "header", "key": "X-Beta", "operator": "equal", "value": "1" },
                { "position": "query", "key": "page", "operator": "larger_than", "value": 5 },
                { "position": "cookie", "key": "test", "operator": "present" }
            ]
        });
        let created = owner.post(&releases, body).await;
        let expressions = json!([
            { "subject": "header", "name": "X-Beta", "operator": "equal", "value": "1" },
            { "subject": "query", "name": "page", "operator": "larger_than", "value": "5" },
            { "subject": "cookie", "name": "test", "operator": "present", "value": "" }
        ]);
        assert_eq!(created.ok()["expressions"], expressions);
        assert_eq!(created.ok()["rules"][1]["key"], "page");
        // The SDK starts a release by sending back all it knows of it.
        let mut whole = created.ok().clone();
        whole["state"] = json!("in_progress");
        whole.as_object_mut().unwrap().remove("expressions");
        owner.put(&format!("{releases}/{}", created.id()), whole).await.ok();
        let rules = split(owner, &app).await;
        assert_eq!(
            rules[0]["match"],
            json!([{ "vars": [
                ["http_x_beta", "==", "1"], ["arg_page", ">", 5], ["cookie_test", "~=", null]
            ] }])
        );
        assert_eq!(rules[0]["weighted_upstreams"][0]["weight"], 1);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_and_named() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        let rule = |field: &str, value: Value| {
            let body = json!({ "name": "a", "type": "rule", "canary_upstream_version": "v2" });
            with(body, field, value)
        };
        let beta = |name: &str, operator: &str, value: &str| {
            json!([{ "subject": "header", "name": name, "operator": operator, "value": value }])
        };
        let sdk = json!([{ "position": "header", "key": "no name", "operator": "equal", "value": "1" }]);
        let without = json!({ "name": "a", "type": "percent", "canary_upstream_version": "v2" });
        for (body, field) in [
            (percent("a", "v9", 10), "`canary_upstream_version`"),
            (percent("a", "v2", 0), "`percent`"),
            (percent("a", "v2", 101), "`percent`"),
            (without, "`percent`"),
            (rule("expressions", Value::Null), "`expressions`"),
            (rule("expressions", beta("x", "regex_match", "(")), "`expressions[0].value`"),
            (rule("expressions", beta("x", "less_than", "many")), "`expressions[0].value`"),
            (rule("rules", sdk), "`rules[0].key`"),
            (rule("rules", json!([{ "position": "x", "key": "a", "operator": "y" }])), "`rules[0].operator`"),
        ] {
            let refused = owner.post(&releases, body).await;
            assert!(refused.refused(400, 2).contains(field), "{field}: {:#}", refused.body);
        }
        assert_eq!(owner.get(&releases).await.ok()["count"], 0);
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let own = json!({ "plugins": { "traffic-split": {} } });
        assert!(owner.patch(&path, own).await.refused(400, 2).contains("canary releases"));
    })
    .await;
}

#[tokio::test]
async fn a_version_in_use_stays() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let releases = format!("/apps/{app}/canary_releases");
        let upstreams = owner.get(&path).await.ok()["upstreams"].clone();
        let without = |version: &str| {
            let kept = upstreams.as_array().unwrap().iter();
            let kept: Vec<&Value> = kept.filter(|entry| entry["version"] != version).collect();
            json!({ "upstreams": kept })
        };
        let default = owner.patch(&path, without("default")).await;
        assert!(default.refused(400, 2).contains("`default_upstream_version`"));
        let body = percent("trial", "v2", 10);
        let release = format!("{releases}/{}", owner.post(&releases, body.clone()).await.id());
        let in_use = |answer: &Answer| {
            let message = answer.refused(409, 7);
            assert!(message.contains("`v2`") && message.contains("`trial`"), "{message}");
        };
        in_use(&owner.patch(&path, without("v2")).await);
        let mut renamed = upstreams.clone();
        renamed[1]["version"] = json!("v2b");
        in_use(&owner.patch(&path, json!({ "upstreams": renamed })).await);
        owner.put(&release, with(body.clone(), "state", json!("in_progress"))).await.ok();
        in_use(&owner.patch(&path, without("v2")).await);
        owner.patch(&path, without("v3")).await.ok();
        owner.put(&release, with(body, "state", json!("finished"))).await.ok();
        // Rolling back by hand is documented; then nothing needs v2 any more.
        owner.patch(&path, json!({ "default_upstream_version": "default" })).await.ok();
        owner.patch(&path, without("v2")).await.ok();
    })
    .await;
}

#[tokio::test]
async fn releases_go_with_their_application_and_before_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        for name in ["one", "two", "three"] {
            owner.post(&releases, percent(name, "v2", 10)).await.ok();
        }
        let page = format!("{releases}?order_by=created_at&direction=asc&page_size=2");
        let page = owner.get(&page).await;
        assert_eq!(
            (page.names(), &page.ok()["count"]),
            (vec!["one".into(), "two".into()], &json!(3))
        );
        assert_eq!(owner.get(&format!("{releases}?search=TWO")).await.names(), ["two"]);
        let id = page.ok()["list"][0]["id"].as_str().unwrap().to_owned();
        let path = format!("{releases}/{id}");
        owner.put(&path, with(percent("one", "v2", 10), "state", json!("in_progress"))).await.ok();
        owner.delete(&path).await.ok();
        assert_eq!(split(owner, &app).await, Value::Null, "back to the default version");
        let blog = versioned(owner, "blog").await;
        owner.get(&format!("/apps/{blog}/canary_releases/{id}")).await.refused(404, 4);
        // Releases do not keep an application from going, APIs do.
        owner.delete(&owner.in_cluster(&format!("/apps/{app}"))).await.ok();
        owner.get(&releases).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_of_finishing_shows_the_service_and_keeps_everything() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = versioned(owner, "shop").await;
        let releases = format!("/apps/{app}/canary_releases");
        let body = percent("a", "v2", 10);
        let path = format!("{releases}/{}", owner.post(&releases, body.clone()).await.id());
        owner.put(&path, with(body.clone(), "state", json!("in_progress"))).await.ok();
        let revision = owner.revision().await;
        let finish = with(body, "state", json!("finished"));
        let tried = owner.put(&format!("{path}?dry_run=true"), finish).await;
        let changes = &tried.body["preview"]["changes"];
        assert_eq!(changes[0]["key"], format!("/apisix/services/{app}"));
        assert_eq!(changes.as_array().unwrap().len(), 1);
        assert_eq!(owner.get(&path).await.ok()["state"], "in_progress");
        assert_eq!(owner.revision().await, revision);
    })
    .await;
}
