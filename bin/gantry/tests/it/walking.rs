//! From the management API to a proxied, protected request.

use gantry_testkit::{Database, Origin, client};
use reqwest::Method;
use serde_json::json;

use crate::harness::{Installation, api, eventually};

#[tokio::test]
async fn an_api_becomes_a_protected_route_on_sqlite() {
    walk(Database::Sqlite).await;
}

#[tokio::test]
async fn an_api_becomes_a_protected_route_on_postgres() {
    walk(Database::postgres()).await;
}

async fn walk(database: Database) {
    let origin = Origin::start("backend").await;
    let gantry = Installation::start(database).await;
    let gateway = gantry.gateway("gateway").await;

    let shop = gantry.application("shop", "/shop", origin.address).await;
    gantry.api(&shop, api("open", "/open")).await;
    let mut protected = api("protected", "/protected");
    protected["plugins"] = json!({ "key-auth": {} });
    gantry.api(&shop, protected).await;
    let consumer = json!({ "name": "mobile", "credentials": { "key-auth": { "key": "k-1" } } });
    gantry.call(Method::POST, &gantry.cluster_path("/consumers"), Some(consumer)).await;
    let revision = gantry.revision().await;
    gateway.applied(revision).await;

    let open = gateway.get("/shop/open?x=1").await;
    assert_eq!(open.status(), 200);
    let seen: serde_json::Value = open.json().await.unwrap();
    assert_eq!(
        (seen["name"].as_str(), seen["path"].as_str()),
        (Some("backend"), Some("/shop/open"))
    );

    let refused = gateway.get("/shop/protected").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.text().await.unwrap(), "{\"message\":\"Missing API key in request\"}\n");
    let url = gateway.http("/shop/protected");
    let wrong = client().get(&url).header("apikey", "k-2").send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let right = client().get(&url).header("apikey", "k-1").send().await.unwrap();
    assert_eq!(right.status(), 200);
    assert_eq!(gateway.get("/shop/nothing").await.status(), 404);

    instance_is_healthy(&gantry, revision).await;
}

async fn instance_is_healthy(gantry: &Installation, revision: i64) {
    eventually("the instance is healthy at the newest revision", || async {
        let instances = gantry.call(Method::GET, &gantry.cluster_path("/instances"), None).await;
        instances["count"] == 1
            && instances["list"][0]["status"] == "Healthy"
            && instances["list"][0]["config_version"] == revision
    })
    .await;
}

#[tokio::test]
async fn a_change_replaces_what_is_served_and_a_deletion_ends_it() {
    let (old, new) = (Origin::start("old").await, Origin::start("new").await);
    let gantry = Installation::start(Database::Sqlite).await;
    let gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", old.address).await;
    gantry.api(&shop, api("open", "/open")).await;
    gateway.applied(gantry.revision().await).await;
    assert!(gateway.get("/shop/open").await.text().await.unwrap().contains("\"old\""));

    let path = gantry.cluster_path(&format!("/apps/{shop}"));
    let moved = crate::harness::application("shop", "/market", new.address);
    gantry.call(Method::PUT, &path, Some(moved)).await;
    gateway.applied(gantry.revision().await).await;
    assert_eq!(gateway.get("/shop/open").await.status(), 404);
    assert!(gateway.get("/market/open").await.text().await.unwrap().contains("\"new\""));

    gantry.call(Method::DELETE, &format!("{path}?cascade=true"), None).await;
    gateway.applied(gantry.revision().await).await;
    assert_eq!(gateway.get("/market/open").await.status(), 404);
}
