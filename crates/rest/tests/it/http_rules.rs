//! What holds for every request: ids, methods, sizes, types, cookies.

use http::Method;
use serde_json::json;

use crate::harness::{Answer, on_both};

#[tokio::test]
async fn request_ids_are_echoed_or_made() {
    on_both(|server| async move {
        let request = || server.owner.request(Method::GET, "/user/login");
        let given = Answer::read(request().header("x-request-id", "453750199534224179")).await;
        assert_eq!(given.headers["x-request-id"], "453750199534224179");
        let made = Answer::read(request()).await;
        assert_eq!(made.headers["x-request-id"].len(), 36);
    })
    .await;
}

#[tokio::test]
async fn unknown_paths_and_wrong_methods_are_answered_in_the_envelope() {
    on_both(|server| async move {
        let owner = &server.owner;
        Answer::read(owner.request(Method::GET, "/nothing")).await.refused(404, 4);
        let wrong = Answer::read(owner.request(Method::DELETE, "/orgs")).await;
        wrong.refused(405, 2);
        assert_eq!(wrong.headers["allow"], "POST");
    })
    .await;
}

#[tokio::test]
async fn bodies_have_to_be_small_json() {
    on_both(|server| async move {
        let owner = &server.owner;
        let request = || owner.request(Method::POST, "/orgs").bearer_auth(&owner.token);
        let json = "application/json; charset=utf-8";
        let typed = |text: String| request().header("content-type", json).body(text);
        Answer::read(typed("{\"name\":\"Good\"}".into())).await.ok();
        Answer::read(typed("{\"name\":".into())).await.refused(400, 2);
        Answer::read(typed(String::new())).await.refused(400, 2);
        let large = format!("{{\"name\":\"{}\"}}", "x".repeat(gantry_rest::BODY_BYTES_MAX));
        Answer::read(typed(large)).await.refused(413, 2);
        Answer::read(
            request().header("content-type", "application/x-www-form-urlencoded").body("name=x"),
        )
        .await
        .refused(415, 2);
    })
    .await;
}

#[tokio::test]
async fn a_cookie_alone_does_not_let_foreign_pages_write() {
    on_both(|server| async move {
        let owner = &server.owner;
        let cookie = format!("gantry_session={}", owner.token);
        let write = |header: (&'static str, String)| {
            let request = owner.request(Method::POST, "/orgs").header("cookie", &cookie);
            Answer::read(request.header(header.0, header.1).json(&json!({ "name": "New" })))
        };
        let read = owner.request(Method::GET, "/user/me").header("cookie", &cookie);
        Answer::read(read).await.ok();
        write(("origin", "http://evil.example".into())).await.refused(403, 5);
        write(("accept", "*/*".into())).await.refused(403, 5);
        write(("origin", server.base.clone())).await.ok();
        write(("x-requested-with", "console".into())).await.ok();
    })
    .await;
}

#[tokio::test]
async fn probes_and_the_contract_need_no_sign_in() {
    on_both(|server| async move {
        let get = async |path: &str| {
            Answer::read(gantry_testkit::client().get(format!("{}{path}", server.base))).await
        };
        get("/healthz").await.ok();
        get("/readyz").await.ok();
        let contract = get("/api/openapi.json").await;
        assert_eq!(contract.body["openapi"], "3.0.3");
        assert!(contract.body["paths"]["/api/v1/orgs"]["post"].is_object());
    })
    .await;
}
