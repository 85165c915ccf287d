//! The caller's own account: names, password, tour, address, end.

use gantry_app::mail::{Smtp, SmtpTls};
use gantry_app::{Cx, audit, user};
use gantry_model::Secret;
use gantry_testkit::{Database, MailServer};
use http::Method;
use serde_json::json;

use crate::harness::{Answer, Door, OWNER, PASSWORD, STRANGER, Server, on_both};

#[tokio::test]
async fn people_change_their_names_and_their_tour() {
    on_both(|server| async move {
        let owner = &server.owner;
        let nothing = json!({ "dismiss": false, "checklist": [] });
        assert_eq!(owner.get("/user/me").await.ok()["product_tour"], nothing);
        let names = json!({ "first_name": "Ada", "last_name": "Example" });
        owner.put("/user/me?dry_run=true", names.clone()).await.ok();
        assert_eq!(owner.get("/user/me").await.ok()["first_name"], "Gantry");
        owner.put("/user/me", names).await.ok();
        let tour = json!({ "dismiss": true, "checklist": [
            { "name": "create_service", "completed": true, "step": 2 }, { "name": "send_request" }
        ] });
        assert_eq!(*owner.put("/user/product_tour", tour.clone()).await.ok(), tour);
        let me = owner.get("/user/me").await;
        assert_eq!(me.ok()["first_name"], "Ada");
        assert_eq!(me.ok()["product_tour"], tour);
        let twice = json!({ "dismiss": true, "checklist": [{ "name": "a" }, { "name": "a" }] });
        owner.put("/user/product_tour", twice).await.refused(400, 2);
        let large = json!({ "dismiss": true, "checklist": [{ "name": "a".repeat(20_000) }] });
        let refused = owner.put("/user/product_tour", large).await;
        assert!(refused.refused(400, 2).contains("`checklist`"));
        assert_eq!(owner.get("/user/me").await.ok()["product_tour"], tour);
        assert_eq!(audit::verify(&server.app).await.unwrap().broken, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_new_password_ends_the_other_sessions() {
    on_both(|server| async move {
        let owner = &server.owner;
        let mut other = owner.clone();
        other.token = owner.new_session(OWNER, PASSWORD).await;
        let change = |old: &str| json!({ "old_password": old, "new_password": "another one" });
        let wrong = owner.put("/user/password", change("wrong")).await;
        assert!(wrong.refused(400, 2).contains("`old_password`"));
        other.get("/user/me").await.ok();
        owner.put("/user/password", change(PASSWORD)).await.ok();
        owner.get("/user/me").await.ok();
        other.get("/user/me").await.refused(401, 6);
        let login = json!({ "email": OWNER, "password": PASSWORD });
        owner.post("/user/login", login).await.refused(401, 6);
        owner.new_session(OWNER, "another one").await;
    })
    .await;
}

#[tokio::test]
async fn old_passwords_cannot_be_guessed_with_a_stolen_session() {
    on_both(|server| async move {
        let guess = json!({ "old_password": "wrong", "new_password": "mine" });
        for _ in 0..10 {
            server.owner.put("/user/password", guess.clone()).await.refused(400, 2);
        }
        server.owner.put("/user/password", guess).await.refused(429, 10);
    })
    .await;
}

#[tokio::test]
async fn an_account_goes_with_all_it_has_unless_it_owns_an_organization() {
    on_both(|server| async move {
        let refused = server.stranger.delete("/user/me").await;
        assert!(refused.refused(409, 7).contains("Acme"));
        let cx = Cx::system(&server.app, "test");
        user::create(&cx, "leaver@example.com", Secret::new(PASSWORD)).await.unwrap();
        let mut leaver = server.anonymous();
        leaver.token = leaver.new_session("leaver@example.com", PASSWORD).await;
        let made = leaver.post("/user/access_tokens", json!({ "expire": 0 })).await;
        let mut robot = server.anonymous();
        robot.token = made.ok()["token"].as_str().unwrap().to_owned();
        leaver.delete("/user/me?dry_run=true").await.ok();
        leaver.get("/user/me").await.ok();
        let gone = leaver.delete("/user/me").await;
        gone.ok();
        assert!(gone.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
        leaver.get("/user/me").await.refused(401, 6);
        robot.get("/user/me").await.refused(401, 6);
        let login = json!({ "email": "leaver@example.com", "password": PASSWORD });
        leaver.post("/user/login", login).await.refused(401, 6);
        server.stranger.get("/user/me").await.ok();
        assert_eq!(audit::verify(&server.app).await.unwrap().broken, [""; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_dry_run_is_none() {
    on_both(|server| async move {
        let owner = &server.owner;
        let body = json!({ "expire": 0, "notes": "try" });
        let tried = owner.post("/user/access_tokens?dry_run=true", body).await;
        assert!(tried.ok().get("token").is_none());
        assert_eq!(owner.get("/user/access_tokens").await.ok()["count"], 1);
        for _ in 0..49 {
            owner.post("/user/access_tokens", json!({ "expire": 0 })).await.ok();
        }
        owner.post("/user/access_tokens", json!({ "expire": 0 })).await.refused(403, 8);
    })
    .await;
}

#[tokio::test]
async fn an_address_is_verified_by_a_link_that_works_once() {
    for database in [Database::Sqlite, Database::postgres()] {
        let mails = MailServer::start().await;
        let server = Server::behind(Door::open().await, database, |config| {
            config.smtp = Some(Smtp {
                host: mails.address.ip().to_string(),
                port: mails.address.port(),
                login: None,
                from: "gantry@example.com".into(),
                tls: SmtpTls::None,
            });
        });
        let server = server.await;
        let nobody = server.anonymous();
        let cx = Cx::system(&server.app, "test");
        let email = "new@example.com";
        let id = user::create_unverified(&cx, email, Secret::new(PASSWORD)).await.unwrap();
        let login = json!({ "email": email, "password": PASSWORD });
        let waiting = nobody.post("/user/login", login.clone()).await;
        assert!(waiting.refused(403, 5).contains(&id), "the console needs the id");
        let wrong = json!({ "email": email, "password": "wrong" });
        nobody.post("/user/login", wrong).await.refused(401, 6);

        // Nobody learns who has an account, and who has one gets no more mails than one can bear.
        let owner = server.owner.get("/user/me").await.ok()["id"].clone();
        for unknown in [json!("999"), owner] {
            let body = json!({ "user_id": unknown });
            nobody.post("/user/resend_verification_email", body).await.ok();
        }
        let again = json!({ "user_id": id });
        nobody.post("/user/resend_verification_email", again.clone()).await.ok();
        nobody.post("/user/resend_verification_email", again).await.refused(429, 10);
        let mail = mails.first().await;
        assert_eq!(mail.to, email);
        assert!(!mail.text.contains(PASSWORD));
        let link = mail.text.split_whitespace().find(|word| word.contains("/api/v1/user/"));
        let path = link.unwrap().strip_prefix(&format!("{}/api/v1", server.base)).unwrap();

        let forged = path.replace("token=", "token=x");
        // An addition of Gantry's, which the contract of the original does not know.
        Answer::read(nobody.request(Method::GET, &forged)).await.refused(400, 2);
        let browser = nobody.request(Method::GET, path).header("accept", "text/html,*/*");
        let opened = browser.send().await.unwrap();
        assert_eq!(
            (opened.status().as_u16(), opened.headers()["location"].to_str().unwrap()),
            (303, format!("{}/", server.base).as_str())
        );
        Answer::read(nobody.request(Method::GET, path)).await.refused(400, 2);
        nobody.post("/user/login", login).await.ok();
        assert_eq!(mails.received().len(), 1, "the others have nothing to verify");
        assert_eq!(audit::verify(&server.app).await.unwrap().broken, [""; 0]);
    }
}

#[tokio::test]
async fn signing_in_says_nothing_about_who_has_an_account() {
    on_both(|server| async move {
        let nobody = server.anonymous();
        let try_as = async |email: &str| -> Answer {
            nobody.post("/user/login", json!({ "email": email, "password": "wrong" })).await
        };
        let (known, unknown) = (try_as(STRANGER).await, try_as("nobody@example.com").await);
        known.refused(401, 6);
        assert_eq!(known.body, unknown.body);
    })
    .await;
}
