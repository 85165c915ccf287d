//! The life of an API.

use serde_json::json;

use crate::harness::{Answer, api, application, on_both};

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

#[tokio::test]
async fn apis_that_take_the_same_requests_are_told_apart() {
    on_both(|server| async move {
        let owner = &server.owner;
        let mut body = application("shop");
        body["path_prefix"] = json!("/");
        let shop = owner.post(&owner.in_cluster("/apps"), body).await.id();
        let mut body = application("market");
        body["hosts"] = json!(["market.example.com", "shop.example.com"]);
        body["path_prefix"] = json!("/v1");
        let market = owner.post(&owner.in_cluster("/apps"), body).await.id();
        let (shop, market) = (format!("/apps/{shop}/apis"), format!("/apps/{market}/apis"));
        let body = |name: &str, path: &str, methods: &[&str]| {
            json!({ "name": name, "methods": methods, "paths": [{ "path": path }] })
        };
        let warning = |answer: &Answer| answer.ok().is_object().then(|| answer.body["warning"].clone());
        let none = Some(serde_json::Value::Null);
        let first = owner.post(&shop, body("cart", "/v1/cart", &["GET", "PUT"])).await;
        assert_eq!(warning(&first), none);
        let other = owner.post(&market, body("basket", "cart", &["PUT", "POST"])).await;
        let text = other.body["warning"].as_str().unwrap_or_else(|| panic!("{other:?}"));
        for part in ["`cart`", "`shop`", "`shop.example.com/v1/cart*`"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let path = format!("{market}/{}", other.id());
        assert_eq!(warning(&owner.patch(&path, json!({ "methods": ["POST"] })).await), none);
        let controlled = json!({ "methods": ["PUT"], "fine_grained_route_control": {
            "enabled": true, "expressions": [{ "subject": "header", "name": "x", "operator": "present" }]
        } });
        assert_eq!(warning(&owner.patch(&path, controlled).await), none);
        let exact = json!({ "paths": [{ "path": "/cart", "path_type": "Exact" }] });
        assert_eq!(warning(&owner.patch(&path, exact).await), none);
        let any = json!({ "name": "any", "paths": [{ "path": "/v1/cart" }] });
        assert!(owner.post(&shop, any).await.body["warning"].as_str().unwrap().contains("`cart`"));
        let far = owner.application("far").await;
        let far = owner.post(&format!("/apps/{far}/apis"), body("cart", "/v1/cart", &[])).await;
        assert_eq!(warning(&far), none, "other hosts");
    })
    .await;
}

#[tokio::test]
async fn a_new_prefix_that_conditions_do_not_know_is_told() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let mut body = api("cart");
        body["fine_grained_route_control"] = json!({ "enabled": true, "expressions": [
            { "subject": "path", "operator": "regex_match", "value": "^/shop/cart/[0-9]+$" }
        ] });
        owner.post(&format!("/apps/{app}/apis"), body).await.ok();
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let same = owner.patch(&path, json!({ "path_prefix": "/shop/" })).await;
        assert_eq!(same.body.get("warning"), None);
        let moved = owner.patch(&path, json!({ "path_prefix": "/market" })).await;
        assert!(moved.body["warning"].as_str().unwrap().contains("`cart`"));
    })
    .await;
}

#[tokio::test]
async fn apis_of_drafts_and_draft_apis_are_not_served() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let mut body = api("cart");
        body["active"] = json!(1);
        let id = owner.post(&format!("/apps/{app}/apis"), body).await.id();
        let dump = format!("/debug/config/clusters/{}/api/{id}", owner.cluster);
        assert_eq!(owner.get(&dump).await.ok()["routes"], json!([]));
        let path = format!("/apps/{app}/apis/{id}");
        owner.patch(&path, json!({ "active": 0 })).await.ok();
        assert_eq!(owner.get(&dump).await.ok()["routes"].as_array().unwrap().len(), 1);
        owner.post(&format!("/apps/{app}/apis"), api("cart")).await.refused(409, 3);
    })
    .await;
}
