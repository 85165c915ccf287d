//! What holds for every request: ids, methods, sizes, types, cookies.

use std::collections::BTreeMap;
use std::time::Duration;

use gantry_app::access::{self, Scope};
use gantry_app::telemetry;
use gantry_rest::contract::{Operation, contract};
use gantry_rest::routes::routes;
use http::Method;
use serde_json::json;

use crate::every_operation::path as filled;
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
async fn every_operation_wants_its_method() {
    on_both(|server| async move {
        let mut methods: BTreeMap<&str, Vec<Method>> = BTreeMap::new();
        for operation in operations() {
            methods.entry(operation.path()).or_default().push(operation.method().clone());
        }
        for (path, allowed) in methods {
            let operation = operations().find(|operation| operation.path() == path).unwrap();
            for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                let wrong = server.owner.request(method.clone(), &filled(operation, &[]));
                let wrong = Answer::read(wrong.bearer_auth(&server.owner.token)).await;
                let known = wrong.status != 405;
                assert!(known || !allowed.contains(&method), "{method} {path}");
                if !known {
                    wrong.refused(405, 2);
                    let said = wrong.headers["allow"].to_str().unwrap();
                    for method in &allowed {
                        assert!(said.contains(method.as_str()), "{path}: {said}");
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn every_body_has_to_be_small_json() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let before = owner.revision().await;
        let ids = [("id", &*owner.org), ("cluster_id", &*owner.cluster), ("app_id", &*app)];
        let json = "application/json; charset=utf-8";
        let large = format!("{{\"name\":\"{}\"}}", "x".repeat(gantry_rest::BODY_BYTES_MAX));
        let mut tried = 0;
        for operation in operations().filter(|operation| operation.body().is_some()) {
            // Forms of browsers; what they may send is tested where they are.
            if operation.id == "joinByInvitation" {
                continue;
            }
            let ask = |kind: &str, text: &str| {
                let request = owner.request(operation.method().clone(), &filled(operation, &ids));
                let request = request.bearer_auth(&owner.token);
                Answer::read(request.header("content-type", kind).body(text.to_owned()))
            };
            eprintln!("{}", operation.id);
            ask(json, "{\"name\":").await.refused(400, 2);
            if operation.body_is_required() {
                ask(json, "").await.refused(400, 2);
            }
            ask(json, "7").await.refused(400, 2);
            ask(json, &large).await.refused(413, 2);
            ask("application/x-www-form-urlencoded", "name=x").await.refused(415, 2);
            tried += 1;
        }
        assert!(tried > 40, "{tried} operations have a body");
        assert_eq!(owner.revision().await, before);
        let good = owner.request(Method::POST, "/orgs").bearer_auth(&owner.token);
        Answer::read(good.header("content-type", json).body("{\"name\":\"Good\"}")).await.ok();
    })
    .await;
}

/// What people call: gateways have a port of their own.
fn operations() -> impl Iterator<Item = &'static Operation> {
    let people = |id: &str| access::rule(id).unwrap().scope != Scope::Gateway;
    let routes = routes().into_iter().filter(move |route| people(route.id));
    routes.map(|route| contract().operation(route.id).unwrap())
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

/// The operator's listener over a server's control plane.
async fn operator(app: &gantry_app::App) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = gantry_rest::operator_router(app.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    base
}

#[tokio::test]
async fn readiness_names_what_is_not_well() {
    on_both(|server| async move {
        let base = operator(&server.app).await;
        let get = async |path: &str| {
            Answer::read(gantry_testkit::client().get(format!("{base}{path}"))).await
        };
        get("/readyz").await.ok();
        let task = telemetry::task(&server.app, "sweeping", Duration::ZERO);
        let said = get("/readyz").await.refused(503, 1).to_owned();
        assert!(said.contains("background work `sweeping` was last heard of"), "{said}");
        drop(task);
        get("/readyz").await.ok();
        let task = telemetry::task(&server.app, "sweeping", Duration::MAX);
        for _ in 0..3 {
            task.ended(&Err::<(), ()>(()));
        }
        let said = get("/readyz").await.refused(503, 1).to_owned();
        assert!(said.contains("`sweeping` has failed 3 times in a row"), "{said}");
        task.ended(&Ok::<(), ()>(()));
        get("/readyz").await.ok();
        server.app.close().await;
        let said = get("/readyz").await.refused(503, 1).to_owned();
        assert!(said.contains("the database does not answer"), "{said}");
        // It is alive all the same, and says so of its database.
        get("/healthz").await.ok();
        let text = gantry_testkit::client().get(format!("{base}/metrics")).send().await.unwrap();
        let text = text.text().await.unwrap();
        assert!(text.contains("\ngantry_database_up 0\n"), "{text}");
    })
    .await;
}
