//! What must survive: kill -9, a dead control plane, a damaged disk, a bad resource.

use std::sync::Arc;

use gantry_testkit::{Database, Origin};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::harness::{Installation, api, cache_file, eventually, text};

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_on_sqlite() {
    kill_in_the_middle(Database::Sqlite).await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_by_kill_9_on_postgres() {
    kill_in_the_middle(Database::postgres()).await;
}

/// 1,000 creates by eight writers; the server is killed after some 400 answers.
async fn kill_in_the_middle(database: Database) {
    let origin = Origin::start("backend").await;
    let mut gantry = Installation::start(database).await;
    let gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    let before = gantry.revision().await;
    gateway.applied(before).await;

    let gantry_now = Arc::new(gantry);
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (gantry, acknowledged, shop) =
                (gantry_now.clone(), acknowledged.clone(), shop.clone());
            tokio::spawn(async move {
                for number in 0..125 {
                    let name = format!("w{writer}-{number}");
                    let body = api(&name, &format!("/{name}"));
                    let path = format!("/apps/{shop}/apis");
                    match gantry.try_call(Method::POST, &path, Some(body)).await {
                        Some(answer) => {
                            assert_eq!(answer["status"]["code"], 0, "{answer}");
                            acknowledged.lock().await.push(text(&answer["payload"]["id"]));
                        }
                        None => return,
                    }
                }
            })
        })
        .collect();
    let pid = gantry_now.server.as_ref().expect("a running server").pid().to_string();
    eventually("400 writes are acknowledged", || async { acknowledged.lock().await.len() >= 400 })
        .await;
    let killed = std::process::Command::new("kill").args(["-KILL", &pid]).status().unwrap();
    assert!(killed.success());
    for writer in writers {
        writer.await.unwrap();
    }
    gantry = Arc::try_unwrap(gantry_now).ok().expect("writers are done");
    gantry.kill_server().await;
    let acknowledged = Arc::try_unwrap(acknowledged).expect("writers are done").into_inner();
    assert!((400..1000).contains(&acknowledged.len()), "{} were acknowledged", acknowledged.len());

    gantry.start_server().await;
    everything_is_there(&gantry, &shop, before, &acknowledged).await;
    gantry.api(&shop, api("after", "/after")).await;
    gateway.applied(gantry.revision().await).await;
    assert_eq!(gateway.get("/shop/after").await.status(), 200, "the gateway resumed");
}

/// Each acknowledged API is stored, and there is one revision after `before` for each stored one. A
/// hole or a lost revision would show as a difference.
async fn everything_is_there(
    gantry: &Installation,
    shop: &str,
    before: i64,
    acknowledged: &[String],
) {
    let list = gantry.call(Method::GET, &format!("/apps/{shop}/apis?page_size=1000"), None).await;
    let stored: std::collections::HashSet<String> =
        list["list"].as_array().unwrap().iter().map(|api| text(&api["id"])).collect();
    for id in acknowledged {
        assert!(stored.contains(id), "acknowledged {id} is missing");
    }
    let revision = gantry.revision().await;
    assert_eq!(revision, before + i64::try_from(stored.len()).unwrap());
}

#[tokio::test]
async fn a_gateway_serves_on_while_the_server_is_dead_and_starts_from_disk() {
    let origin = Origin::start("backend").await;
    let mut gantry = Installation::start(Database::Sqlite).await;
    let mut gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    gantry.api(&shop, api("open", "/open")).await;
    let revision = gantry.revision().await;
    gateway.applied(revision).await;
    eventually("the configuration is on disk", || async {
        gateway.status().await["cached_revision"] == revision
    })
    .await;

    gantry.kill_server().await;
    assert_eq!(gateway.get("/shop/open").await.status(), 200, "it serves on");
    gateway.kill().await;
    gateway.start().await;
    assert_eq!(gateway.get("/shop/open").await.status(), 200, "it starts from disk");
    assert_eq!(gateway.status().await["revision"], revision);

    gantry.start_server().await;
    gantry.api(&shop, api("later", "/later")).await;
    gateway.applied(gantry.revision().await).await;
    assert_eq!(gateway.get("/shop/later").await.status(), 200, "it follows again");
}

#[tokio::test]
async fn a_damaged_cache_falls_back_to_the_previous_one() {
    let origin = Origin::start("backend").await;
    let mut gantry = Installation::start(Database::Sqlite).await;
    let mut gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    for name in ["first", "second"] {
        gantry.api(&shop, api(name, &format!("/{name}"))).await;
        let revision = gantry.revision().await;
        eventually("the configuration is on disk", || async {
            gateway.status().await["cached_revision"] == revision
        })
        .await;
    }
    gantry.kill_server().await;
    gateway.kill().await;
    let file = cache_file(&gateway.folder);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, bytes).unwrap();

    gateway.start().await;
    assert_eq!(
        gateway.get("/shop/first").await.status(),
        200,
        "the previous configuration is in force"
    );
    assert_eq!(gateway.get("/shop/second").await.status(), 404);
}

#[tokio::test]
async fn a_resource_that_the_gateway_cannot_run_is_isolated_and_reported() {
    let origin = Origin::start("backend").await;
    let gantry = Installation::start(Database::Sqlite).await;
    let gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    gantry.api(&shop, api("open", "/open")).await;
    // The server cannot know what is set where gateways run.
    let mut limited = api("limited", "/limited");
    limited["plugins"] = json!({ "limit-count": {
        "count": 1, "time_window": 60, "policy": "redis",
        "redis_host": "$env://GANTRY_TEST_NOBODY_SETS_THIS",
    } });
    let limited = gantry.api(&shop, limited).await;
    gateway.applied(gantry.revision().await).await;

    assert_eq!(gateway.get("/shop/open").await.status(), 200, "its neighbour is served");
    assert_eq!(gateway.get("/shop/limited").await.status(), 503, "what has no limit is closed");
    eventually("the problem is visible in the instance", || async {
        let instances = gantry.call(Method::GET, &gantry.cluster_path("/instances"), None).await;
        problems_of(&instances["list"][0])
            .iter()
            .any(|key| key.ends_with(&format!("/routes/{limited}")))
    })
    .await;

    gantry.call(Method::DELETE, &format!("/apps/{shop}/apis/{limited}"), None).await;
    eventually("the problem is gone with its resource", || async {
        let instances = gantry.call(Method::GET, &gantry.cluster_path("/instances"), None).await;
        problems_of(&instances["list"][0]).is_empty()
    })
    .await;
}

fn problems_of(instance: &Value) -> Vec<String> {
    instance["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|problem| text(&problem["key"]))
        .collect()
}
