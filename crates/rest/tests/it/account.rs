//! Signing in, tokens, organizations.

use http::Method;
use serde_json::json;

use crate::harness::{Answer, OWNER, PASSWORD, on_both};

#[tokio::test]
async fn people_sign_in_by_json_and_by_basic_authorization() {
    on_both(|server| async move {
        let nobody = server.anonymous();
        let login = json!({ "email": OWNER, "password": PASSWORD });
        let answer = nobody.post("/user/login", login).await;
        assert_eq!(answer.ok()["user"]["email"], OWNER);
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        for part in ["gantry_session=", "HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let request = nobody.request(Method::POST, "/user/login");
        let basic = Answer::read(request.basic_auth(OWNER, Some(PASSWORD))).await;
        assert!(basic.ok()["token"].is_string());
        let wrong = json!({ "email": OWNER, "password": "wrong" });
        nobody.post("/user/login", wrong).await.refused(401, 6);
        nobody.call(Method::POST, "/user/login", None).await.refused(401, 6);
        nobody.get("/user/login").await.ok();
    })
    .await;
}

#[tokio::test]
async fn signing_out_ends_the_session_at_once() {
    on_both(|server| async move {
        let owner = &server.owner;
        assert_eq!(owner.get("/user/me").await.ok()["email"], OWNER);
        let out = owner.get("/user/logout").await;
        out.ok();
        assert!(out.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
        owner.get("/user/me").await.refused(401, 6);
    })
    .await;
}

#[tokio::test]
async fn access_tokens_act_for_their_user_until_they_are_removed() {
    on_both(|server| async move {
        let owner = &server.owner;
        // The first start has made one for the owner.
        owner.delete("/user/access_tokens").await.ok();
        let body = json!({ "expire": 0, "notes": "ci" });
        let created = owner.post("/user/access_tokens", body).await;
        let token = created.ok()["token"].as_str().unwrap().to_owned();
        assert_eq!(token.split('.').count(), 3, "the CLI wants a JWT");
        let mut robot = owner.clone();
        robot.token = token;
        assert_eq!(robot.get("/user/me").await.ok()["email"], OWNER);
        let list = owner.get("/user/access_tokens").await;
        assert_eq!(list.ok()["count"], 1);
        assert!(list.ok()["list"][0].get("token").is_none());
        let path = format!("/user/access_tokens/{}", created.id());
        server.stranger.delete(&path).await.refused(404, 4);
        owner.delete(&path).await.ok();
        owner.delete(&path).await.refused(404, 4);
        robot.get("/user/me").await.refused(401, 6);
        owner.post("/user/access_tokens", json!({ "expire": 0 })).await.ok();
        owner.delete("/user/access_tokens").await.ok();
        assert_eq!(owner.get("/user/access_tokens").await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn an_organization_comes_with_a_cluster() {
    on_both(|server| async move {
        let owner = &server.owner;
        let created = owner.post("/orgs", json!({ "name": "Second" })).await;
        let path = format!("/orgs/{}", created.id());
        assert_eq!(owner.get(&path).await.ok()["name"], "Second");
        assert_eq!(owner.get(&format!("{path}/clusters")).await.names(), ["default"]);
        server.stranger.get(&path).await.refused(404, 4);
        owner.post("/orgs/init", json!({ "name": "Third" })).await.refused(409, 3);
        assert_eq!(owner.get("/regions").await.ok()["count"], 1);
    })
    .await;
}
