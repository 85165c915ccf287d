//! Fields that callers may read but not write change nothing when they are sent all the same.

use gantry_rest::contract::contract;
use serde_json::{Map, Value, json};

use crate::harness::{Person, api, application, certificate, on_both};

/// A value no server would choose.
const FORGED: &str = "1234567890123456789";
const LONG_AGO: &str = "2001-02-03T04:05:06.000000Z";

/// `body` with every field that is answered but not taken, filled with something else.
fn forged(mut body: Value) -> Value {
    let fields: Map<String, Value> = [
        "id",
        "org_id",
        "cluster_id",
        "app_id",
        "user_id",
        "owner_id",
        "plan_id",
        "region_id",
        "policy_id",
        "api_id",
    ]
    .into_iter()
    .map(|name| (name.to_owned(), json!(FORGED)))
    .chain(
        ["created_at", "updated_at", "not_after", "expire_time"]
            .map(|name| (name.to_owned(), json!(LONG_AGO))),
    )
    .chain([
        ("status".to_owned(), json!(77)),
        ("config_version".to_owned(), json!(77)),
        ("disabled".to_owned(), json!(false)),
    ])
    .collect();
    for (name, value) in fields {
        if let Some(object) = body.as_object_mut() {
            object.entry(name).or_insert(value);
        }
    }
    body
}

fn is_untouched(path: &str, answer: &Value) {
    let text = answer.to_string();
    assert!(!text.contains(FORGED), "{path}: {text}");
    assert!(!text.contains("2001-02-03"), "{path}: {text}");
    assert_ne!(answer["status"], 77, "{path}");
    assert_ne!(answer["config_version"], 77, "{path}");
}

async fn write(owner: &Person, all: &str, body: Value) -> String {
    let made = owner.post(all, forged(body.clone())).await;
    is_untouched(all, made.ok());
    let path = format!("{all}/{}", made.id());
    let shown = owner.get(&path).await;
    is_untouched(&path, shown.ok());
    let template = contract().operations().find(|one| {
        one.method() == http::Method::PUT && fits(one.path(), &format!("/api/v1{path}"))
    });
    if template.is_some() {
        let put = owner.put(&path, forged(body)).await;
        is_untouched(&path, put.ok());
        assert_eq!(put.ok()["id"], made.ok()["id"]);
        assert_eq!(put.ok()["created_at"], shown.ok()["created_at"]);
    }
    path
}

fn fits(template: &str, path: &str) -> bool {
    let (template, path) = (template.split('/'), path.split('/'));
    template.clone().count() == path.clone().count()
        && template.zip(path).all(|(name, part)| name.starts_with('{') || name == part)
}

#[tokio::test]
async fn what_is_read_only_stays_as_it_is() {
    on_both(|server| async move {
        let owner = &server.owner;
        let within = |rest: &str| owner.in_cluster(rest);
        let app = write(owner, &within("/apps"), application("shop")).await;
        let app = app.rsplit('/').next().unwrap().to_owned();
        write(owner, &format!("/apps/{app}/apis"), api("cart")).await;
        write(owner, &within("/consumers"), json!({ "name": "alice" })).await;
        write(owner, &within("/certificates"), certificate("a.example.com")).await;
        let logs = json!({ "name": "logs", "type": "http-logger", "spec": { "uri": "http://l" } });
        write(owner, &within("/log_collections"), logs).await;
        let registry = json!({ "name": "pods", "type": "kubernetes", "kubernetes": {
            "api_server": { "scheme": "https", "host": "10.0.0.1", "port": 6443 },
            "service_account_token_file": "/token" } });
        write(owner, &within("/service_registries"), registry).await;
        let canary = json!({ "name": "next", "type": "percent", "percent": 5,
            "canary_upstream_version": "default" });
        write(owner, &format!("/apps/{app}/canary_releases"), canary).await;
        let organization = owner.post("/orgs", forged(json!({ "name": "Second" }))).await;
        is_untouched("/orgs", organization.ok());
        assert_eq!(organization.ok()["owner_id"], owner.get("/user/me").await.ok()["id"]);
        let policy = owner.post(&within("/alert_policies"), forged(json!({ "name": "a" }))).await;
        is_untouched("/alert_policies", policy.ok());
        assert_eq!(policy.ok()["disabled"], true);
        let names = json!({ "first_name": "Ann", "last_name": "Lee", "email": "eve@example.com" });
        owner.put("/user/me", forged(names)).await.ok();
        let me = owner.get("/user/me").await;
        is_untouched("/user/me", me.ok());
        assert_eq!(me.ok()["email"], crate::harness::OWNER);
        let settings = json!({ "client_settings": { "maximum_request_body_size": 7 } });
        is_untouched("config", owner.patch(&within("/config"), forged(settings)).await.ok());
    })
    .await;
}
