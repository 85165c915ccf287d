//! Calls are billed exactly, whoever is restarted.

use gantry_testkit::{Database, Origin};
use reqwest::Method;

use crate::harness::{Installation, api, text};

#[tokio::test]
async fn calls_are_billed_exactly_through_restarts_on_sqlite() {
    bill_through_restarts(Database::Sqlite).await;
}

#[tokio::test]
async fn calls_are_billed_exactly_through_restarts_on_postgres() {
    bill_through_restarts(Database::postgres()).await;
}

async fn bill_through_restarts(database: Database) {
    let origin = Origin::start("backend").await;
    let mut gantry = Installation::start(database).await;
    let mut gateway = gantry.gateway("gateway").await;
    let shop = gantry.application("shop", "/shop", origin.address).await;
    gantry.api(&shop, api("open", "/open")).await;
    gateway.applied(gantry.revision().await).await;
    let me = gantry.call(Method::GET, "/user/me", None).await;
    let invoice = format!("/orgs/{}/invoices/upcoming", text(&me["org_ids"][0]));

    let mut asked = 0;
    for requests in [7, 5, 3] {
        for _ in 0..requests {
            assert_eq!(gateway.get("/shop/open").await.status(), 200);
        }
        asked += requests;
        gantry.kill_server().await;
        gantry.start_server().await;
    }
    // Whoever stops tells what it has not told yet.
    gateway.stop().await;
    let billed = gantry.call(Method::GET, &invoice, None).await;
    assert_eq!(billed["lines"][0]["quantity"], asked);
    gateway.start().await;
    assert_eq!(gateway.get("/shop/open").await.status(), 200);
    gateway.stop().await;
    let billed = gantry.call(Method::GET, &invoice, None).await;
    assert_eq!(billed["lines"][0]["quantity"], asked + 1);
}
