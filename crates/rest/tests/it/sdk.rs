//! What the public Go SDK sends (contract, `x-sdk-compat`).

use serde_json::{Value, json};

use crate::harness::{api, application, on_both};

/// Adds what SDK objects carry along.
fn whole(mut body: Value) -> Value {
    let zero = "0001-01-01T00:00:00Z";
    let extra = json!({
        "id": "0", "cluster_id": "0", "app_id": "0", "status": 0, "created_at": zero,
        "updated_at": zero, "available_cert_ids": null, "canary_release_id": null,
        "canary_upstream_version_list": null, "labels": null, "plugins": null, "methods": null
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn whole_objects_are_accepted() {
    on_both(|server| async move {
        let owner = &server.owner;
        let created = owner.post(&owner.in_cluster("/apps"), whole(application("shop"))).await;
        assert_ne!(created.id(), "0");
        let path = owner.in_cluster(&format!("/apps/{}", created.id()));
        owner.put(&path, created.ok().clone()).await.ok();
        let apis = format!("/apps/{}/apis", created.id());
        owner.post(&apis, whole(api("cart"))).await.ok();
        let settings = json!({ "api_proxy_settings": {
            "enable_request_buffering": true, "url_handling_options": null } });
        owner.patch(&owner.in_cluster("/config"), settings).await.ok();
    })
    .await;
}

#[tokio::test]
async fn publishing_by_a_base64_text_works() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let cart = owner.post(&format!("/apps/{app}/apis"), api("cart")).await.id();
        let paths = [owner.in_cluster(&format!("/apps/{app}")), format!("/apps/{app}/apis/{cart}")];
        for path in paths {
            // {"active":1}, then {"active":0}
            let withdrawn = owner.patch(&path, json!("eyJhY3RpdmUiOjF9")).await;
            assert_eq!(withdrawn.ok()["active"], 1);
            let published = owner.patch(&path, json!("eyJhY3RpdmUiOjB9")).await;
            assert_eq!(published.ok()["active"], 0);
            owner.patch(&path, json!("no base64")).await.refused(400, 2);
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_command_line_tool_sends_from_bad_files_is_refused() {
    on_both(|server| async move {
        let owner = &server.owner;
        for body in [json!({ "hosts": null, "upstreams": null }), Value::Null] {
            owner.post(&owner.in_cluster("/apps"), body).await.refused(400, 2);
        }
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 0);
    })
    .await;
}
