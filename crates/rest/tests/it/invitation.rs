//! Invitations: by mail or link, once, for a week, for the invited only.

use gantry_app::Clock;
use gantry_app::mail::{Smtp, SmtpTls};
use gantry_model::Timestamp;
use gantry_model::member::INVITATION_S;
use gantry_testkit::Database;
use gantry_testkit::smtp::MailServer;
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, on_both};

/// Path and query below the API of a link in an answer.
pub fn link(invited: &Answer) -> String {
    let link = invited.ok()["invitation_link"].as_str().unwrap();
    link.split_once("/api/v1").unwrap().1.to_owned()
}

pub fn token(link: &str) -> &str {
    link.split_once("token=").unwrap().1
}

async fn state(owner: &Person, id: &str) -> Value {
    owner.get(&owner.in_org(&format!("/members/{id}"))).await.ok()["state"].clone()
}

#[tokio::test]
async fn the_link_makes_the_account_behind_the_address_a_member_once() {
    on_both(|server| async move {
        let owner = &server.owner;
        let alice = server.newcomer("alice@example.com").await;
        alice.get(&owner.in_org("")).await.refused(404, 4);
        let invited = owner.invite("alice@example.com", "Organization Viewer").await;
        let link = link(&invited);
        alice.get(&owner.in_org("")).await.refused(404, 4);
        let nobody = server.anonymous();
        nobody.get(&link).await.ok();
        assert_eq!(state(owner, &invited.id()).await, "Active");
        alice.get(&owner.in_org("")).await.ok();
        let used = nobody.get(&link).await;
        assert!(used.refused(404, 4).contains("no such invitation"));
        let again = owner.in_org(&format!("/members/{}/re_invite", invited.id()));
        owner.call(Method::PUT, &again, None).await.refused(409, 3);
    })
    .await;
}

#[tokio::test]
async fn knowing_address_and_organization_is_not_enough() {
    on_both(|server| async move {
        let owner = &server.owner;
        let invited = owner.invite("stranger@example.com", "Organization Viewer").await;
        let (link, org) = (link(&invited), &owner.org);
        let bare = format!("/user/accept_invitation?email=stranger@example.com&org_id={org}");
        let (nobody, mallory) = (server.anonymous(), server.newcomer("mallory@example.com").await);
        let unknown = nobody.get("/user/accept_invitation?email=x@example.com&org_id=7").await;
        let mut forged = link.clone();
        forged.replace_range(link.len() - 2.., "xx");
        for path in [&bare, &forged, &format!("{bare}&token="), &bare.replace(org.as_str(), "x")] {
            for caller in [&nobody, &mallory] {
                let refused = caller.get(path).await;
                refused.refused(404, 4);
                if !path.contains("org_id=x") {
                    assert_eq!(refused.body, unknown.body);
                }
            }
        }
        let mut as_other = link.replace("stranger%40", "mallory%40");
        if as_other == link {
            as_other = link.replace("stranger@", "mallory@");
        }
        assert_ne!(as_other, link);
        mallory.get(&as_other).await.refused(404, 4);
        assert_eq!(state(owner, &invited.id()).await, "Pending");
        // A cookie that a foreign page lends is nobody's.
        let cookie = format!("gantry_session={}", server.stranger.token);
        let lent = nobody.request(Method::GET, &bare).header("cookie", &cookie);
        let lent = Answer::read(lent.header("sec-fetch-site", "cross-site")).await;
        lent.refused(404, 4);
        let own = nobody.request(Method::GET, &bare).header("cookie", &cookie);
        Answer::read(own.header("sec-fetch-site", "same-origin")).await.ok();
        assert_eq!(state(owner, &invited.id()).await, "Active");
    })
    .await;
}

#[tokio::test]
async fn invitations_end_after_a_week_unless_renewed() {
    for database in [Database::Sqlite, Database::postgres()] {
        let clock = Clock::fixed(Timestamp::from_seconds(1_800_000_000));
        let server = Server::start_with(database, |config| config.clock = clock.clone()).await;
        let owner = &mut server.owner.clone();
        let token_body = json!({ "expire": 0, "notes": "longer than a session" });
        let token = owner.post("/user/access_tokens", token_body).await;
        owner.token = token.ok()["token"].as_str().unwrap().to_owned();
        let nobody = server.anonymous();
        let invited = owner.invite("stranger@example.com", "Organization Viewer").await;
        let first = link(&invited);
        clock.turn(INVITATION_S);
        nobody.get(&first).await.refused(404, 4);
        assert_eq!(state(owner, &invited.id()).await, "Pending");
        let again = owner.in_org(&format!("/members/{}/re_invite", invited.id()));
        let renewed = owner.call(Method::PUT, &again, None).await;
        assert_eq!(renewed.id(), invited.id());
        let second = link(&renewed);
        assert_ne!(token_of(&first), token_of(&second));
        clock.turn(INVITATION_S - 1);
        nobody.get(&first).await.refused(404, 4);
        nobody.get(&second).await.ok();
    }
}

fn token_of(link: &str) -> String {
    token(link).to_owned()
}

#[tokio::test]
async fn who_has_no_account_makes_one_on_the_page_of_the_link() {
    on_both(|server| async move {
        let owner = &server.owner;
        let nobody = server.anonymous();
        let invited = owner.invite("carol@example.com", "Organization Viewer").await;
        let link = link(&invited);
        nobody.get(&link).await.refused(409, 3);
        let page = nobody.request(Method::GET, &link).header("accept", "text/html,*/*");
        let page = page.send().await.unwrap();
        assert_eq!(page.status(), 200);
        assert_eq!(page.headers()["referrer-policy"], "no-referrer");
        assert!(page.headers()["content-security-policy"].to_str().unwrap().contains("'none'"));
        let html = page.text().await.unwrap();
        assert!(html.contains("Join Acme") && html.contains("carol@example.com"), "{html}");
        let token = token(&link);
        assert!(html.contains(token), "the form carries the token on");
        let form = |token: &str, password: &str| {
            let fields = [
                ("email", "carol@example.com"),
                ("org_id", &owner.org),
                ("token", token),
                ("first_name", "Carol"),
                ("last_name", "Example"),
                ("password", password),
            ];
            let body = fields.map(|(name, value)| format!("{name}={}", value.replace(' ', "+")));
            nobody
                .request(Method::POST, "/user/accept_invitation")
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.join("&"))
        };
        let weak = Answer::read(form(token, "short")).await;
        assert!(weak.refused(400, 2).contains("`password` must have at least 8 characters"));
        Answer::read(form("guess", "a long password")).await.refused(404, 4);
        let joined = form(token, "a long password").header("accept", "text/html");
        let joined = joined.send().await.unwrap();
        assert_eq!(joined.status(), 303);
        assert_eq!(joined.headers()["location"], format!("{}/", server.base));
        Answer::read(form(token, "a long password")).await.refused(404, 4);
        let login = json!({ "email": "carol@example.com", "password": "a long password" });
        let signed_in = nobody.post("/user/login", login).await;
        assert_eq!(signed_in.ok()["user"]["org_ids"], json!([owner.org]));
        let member = owner.get(&owner.in_org(&format!("/members/{}", invited.id()))).await;
        assert_eq!(
            (&member.ok()["first_name"], &member.ok()["state"]),
            (&json!("Carol"), &json!("Active"))
        );
        let used = nobody.request(Method::GET, &link).header("accept", "text/html");
        let used = used.send().await.unwrap();
        assert_eq!(used.status(), 404);
        assert!(used.text().await.unwrap().contains("no such invitation"));
    })
    .await;
}

#[tokio::test]
async fn browsers_are_sent_on_once_they_have_joined() {
    on_both(|server| async move {
        let invited = server.owner.invite("stranger@example.com", "Billing Admin").await;
        let request = server.anonymous().request(Method::GET, &link(&invited));
        let answer = request.header("accept", "text/html").send().await.unwrap();
        assert_eq!(answer.status(), 302);
        assert_eq!(answer.headers()["location"], format!("{}/", server.base));
    })
    .await;
}

#[tokio::test]
async fn with_a_mail_server_only_the_invited_get_the_link() {
    for database in [Database::Sqlite, Database::postgres()] {
        let mails = MailServer::start().await;
        let address = mails.address;
        let smtp = Smtp {
            host: address.ip().to_string(),
            port: address.port(),
            login: None,
            from: "gantry@example.com".into(),
            tls: SmtpTls::None,
        };
        let server = Server::start_with(database, |config| {
            config.smtp = Some(smtp);
            config.public_url = "https://gantry.example.com/".into();
        })
        .await;
        let owner = &server.owner;
        let invited = owner.invite("stranger@example.com", "Billing Admin").await;
        assert!(invited.ok().get("invitation_link").is_none());
        assert!(invited.body.get("warning").is_none());
        let mail = mails.received().pop().unwrap();
        assert_eq!(mail.to, "stranger@example.com");
        let text = mail.text.replace("=\r\n", "").replace("=3D", "=");
        let start = text.find("https://gantry.example.com/api/v1/user/accept").unwrap();
        let link = text[start..].split_whitespace().next().unwrap();
        let path = link.strip_prefix("https://gantry.example.com/api/v1").unwrap();
        server.anonymous().get(path).await.ok();
        assert_eq!(state(owner, &invited.id()).await, "Active");
        let count = mails.received().len();
        let role = owner.role("Billing Admin").await;
        let body = json!({ "email": "dry@example.com", "role_id": role });
        owner.post(&owner.in_org("/members?dry_run=true"), body).await.ok();
        assert_eq!(mails.received().len(), count, "a rehearsal sends nothing");
        let unsent = owner.invite("refused@example.com", "Billing Admin").await;
        unsent.id();
        assert!(unsent.body["warning"].as_str().unwrap().contains("could not be sent"));
    }
}
