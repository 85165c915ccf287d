//! The life of an application.

use serde_json::json;

use crate::harness::{api, application, on_both};

#[tokio::test]
async fn an_application_lives() {
    on_both(|server| async move {
        let owner = &server.owner;
        let before = owner.revision().await;
        let created = owner.post(&owner.in_cluster("/apps"), application("shop")).await;
        assert!(created.revision() > before);
        assert_eq!(created.revision(), owner.revision().await);
        let path = owner.in_cluster(&format!("/apps/{}", created.id()));
        assert_eq!(owner.get(&path).await.ok(), created.ok());
        let mut changed = application("shop");
        changed["description"] = json!("sells things");
        let replaced = owner.put(&path, changed).await;
        assert_eq!(replaced.ok()["description"], "sells things");
        let patched = owner.patch(&path, json!({ "labels": ["a", "b"] })).await;
        assert_eq!(patched.ok()["labels"], json!(["a", "b"]));
        assert_eq!(patched.ok()["description"], "sells things");
        owner.post(&owner.in_cluster("/apps"), application("shop")).await.refused(409, 3);
        let labels = owner.get(&owner.in_cluster("/labels/application")).await;
        assert_eq!(*labels.ok(), json!(["a", "b"]));
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn an_application_in_use_goes_only_with_its_apis() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let apis = format!("/apps/{app}/apis");
        owner.post(&apis, api("cart")).await.ok();
        let path = owner.in_cluster(&format!("/apps/{app}"));
        owner.delete(&path).await.refused(409, 7);
        owner.delete(&format!("{path}?cascade=true")).await.ok();
        owner.get(&apis).await.refused(404, 4);
        for name in ["a", "b"] {
            owner.application(name).await;
        }
        owner.delete(&owner.in_cluster("/apps?cascade=true")).await.ok();
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_refused_plugin_configuration_changes_nothing() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let before = owner.get(&path).await;
        let revision = owner.revision().await;
        for (plugins, field) in [
            (json!({ "limit-count": { "count": 0, "time_window": 60 } }), "plugins.limit-count"),
            (json!({ "no-such-plugin": {} }), "plugins.no-such-plugin"),
            (json!({ "ip-restriction": { "whitelist": ["999.0.0.1"] } }), "plugins.ip-restriction"),
        ] {
            let refused = owner.patch(&path, json!({ "plugins": plugins })).await;
            assert!(refused.refused(400, 2).contains(field), "{:#}", refused.body);
        }
        assert_eq!(owner.get(&path).await.body, before.body);
        assert_eq!(owner.revision().await, revision);
    })
    .await;
}
