//! The life of an API.

use serde_json::json;

use crate::harness::{Answer, api, on_both};

#[tokio::test]
async fn an_api_lives() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let apis = format!("/apps/{app}/apis");
        let created = owner.post(&apis, api("cart")).await;
        assert_eq!(created.ok()["app_id"], app);
        let path = format!("{apis}/{}", created.id());
        assert_eq!(owner.get(&path).await.ok(), created.ok());
        let mut changed = api("cart");
        changed["methods"] = json!(["GET"]);
        assert_eq!(owner.put(&path, changed).await.ok()["methods"], json!(["GET"]));
        let patched = owner.patch(&path, json!({ "description": "goods" })).await;
        assert_eq!(patched.ok()["methods"], json!(["GET"]));
        let found = owner.get(&owner.in_cluster("/apis?search=CART")).await;
        assert_eq!(found.ok()["list"][0]["application"]["id"], app);
        assert_eq!(owner.get(&owner.in_cluster("/apis/search?search=x")).await.ok()["count"], 0);
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
        owner.post(&apis, api("one")).await.ok();
        owner.delete(&apis).await.ok();
        assert_eq!(owner.get(&apis).await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn an_api_is_found_under_its_own_application_and_cluster_only() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (shop, blog) = (owner.application("shop").await, owner.application("blog").await);
        let id = owner.post(&format!("/apps/{shop}/apis"), api("cart")).await.id();
        owner.get(&format!("/apps/{blog}/apis/{id}")).await.refused(404, 4);
        let with_cluster = |cluster: &str| {
            let request = owner.request(http::Method::GET, &format!("/apps/{shop}/apis/{id}"));
            let request = request.bearer_auth(&owner.token);
            Answer::read(request.header("X-API7-Cloud-Gateway-Cluster-ID", cluster))
        };
        with_cluster(&owner.cluster).await.ok();
        let refused = with_cluster(&server.stranger.cluster).await;
        assert!(refused.refused(400, 2).contains("Cluster-ID"));
    })
    .await;
}
