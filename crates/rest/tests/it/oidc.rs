//! Signing in through a real OpenID provider, as a browser does, and everything that must not work.

use gantry_app::oidc::Settings;
use gantry_model::Secret;
use gantry_testkit::identity_provider::{Browser, CLIENT_ID, CLIENT_SECRET, IdentityProvider};
use gantry_testkit::{Database, client};
use serde_json::Value;

use crate::harness::{Door, OWNER, Server};

const ALICE: &str = "alice@example.com";
const SIGN_IN: &str = "gantry_sign_in";
const SESSION: &str = "gantry_session";

/// A server and the provider that it trusts.
struct Pair {
    server: Server,
    provider: IdentityProvider,
}

/// Runs a story on both databases.
async fn on_both_with_provider<F: Future<Output = ()>>(story: impl Fn(Pair) -> F) {
    for database in [Database::Sqlite, Database::postgres()] {
        let door = Door::open().await;
        let callback = format!("{}/api/v1/user/callback", door.base);
        let provider = IdentityProvider::start(&callback).await;
        let issuer = provider.issuer.clone();
        client::use_ring();
        let server = Server::behind(door, database, |config| {
            config.oidc = Some(Settings {
                issuer,
                client_id: CLIENT_ID.into(),
                client_secret: Some(Secret::new(CLIENT_SECRET)),
                scopes: ["openid", "email", "profile"].map(str::to_owned).into(),
                allow_signup: true,
                allowed_domains: vec!["Example.com".into()],
            });
        });
        story(Pair { server: server.await, provider }).await;
    }
}

impl Pair {
    fn url(&self, path: &str) -> String {
        format!("{}/api/v1{path}", self.server.base)
    }

    /// Where Gantry sends a browser that wants to sign in.
    async fn departure(&self, browser: &mut Browser) -> String {
        let answer = browser.get(&self.url("/user/login")).await;
        assert_eq!(answer.status(), 307);
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let cookie = answer.headers()["set-cookie"].to_str().unwrap();
        for part in [SIGN_IN, "HttpOnly", "SameSite=Lax", "Max-Age=600"] {
            assert!(cookie.contains(part), "{cookie}");
        }
        let location = answer.headers()["location"].to_str().unwrap();
        assert!(location.starts_with(&self.provider.issuer), "{location}");
        assert!(location.contains("code_challenge_method=S256"), "{location}");
        location.to_owned()
    }

    /// A browser that has signed in at the provider, and the callback that it was sent to.
    async fn arrive(&self, login: &str) -> (Browser, String) {
        let mut browser = Browser::default();
        let departure = self.departure(&mut browser).await;
        let callback = browser.sign_in(&departure, login, &self.server.base).await;
        (browser, callback)
    }

    async fn refused(&self, browser: &mut Browser, callback: &str, status: u16) -> String {
        let answer = browser.get(callback).await;
        assert_eq!(answer.status(), status);
        assert!(browser.cookie(&self.server.base, SESSION).is_none());
        let body: Value = answer.json().await.unwrap();
        body["error"].as_str().unwrap().to_owned()
    }

    /// The profile of whoever the browser is signed in as.
    async fn me(&self, browser: &mut Browser) -> Value {
        let answer = browser.get(&self.url("/user/me")).await;
        assert_eq!(answer.status(), 200);
        answer.json::<Value>().await.unwrap()["payload"].clone()
    }

    async fn sign_in(&self, login: &str) -> (Browser, Value) {
        let (mut browser, callback) = self.arrive(login).await;
        let answer = browser.get(&callback).await;
        assert_eq!(answer.status(), 303);
        assert_eq!(answer.headers()["location"], format!("{}/", self.server.base));
        let me = self.me(&mut browser).await;
        (browser, me)
    }
}

#[tokio::test]
async fn people_get_an_account_and_keep_it() {
    on_both_with_provider(|pair| async move {
        let (mut browser, me) = pair.sign_in(ALICE).await;
        assert_eq!((&me["email"], &me["first_name"]), (&ALICE.into(), &"Alice".into()));
        assert_eq!(me["connection"], pair.provider.issuer);
        assert!(browser.cookie(&pair.server.base, SIGN_IN).is_none(), "it is used up");
        let (_, again) = pair.sign_in(ALICE).await;
        assert_eq!(again["id"], me["id"]);
        let out = browser.get(&pair.url("/user/logout")).await;
        assert_eq!(out.status(), 200);
        assert_eq!(browser.get(&pair.url("/user/me")).await.status(), 401);
        // There is no password to change, and none to guess.
        let (browser, _) = pair.sign_in(ALICE).await;
        let token = browser.cookie(&pair.server.base, SESSION).unwrap();
        let body = serde_json::json!({ "old_password": "x", "new_password": "y" });
        let request = client().put(pair.url("/user/password")).bearer_auth(token).json(&body);
        assert_eq!(request.send().await.unwrap().status(), 400);
    })
    .await;
}

#[tokio::test]
async fn a_sign_in_belongs_to_the_browser_that_began_it() {
    on_both_with_provider(|pair| async move {
        let (mut browser, callback) = pair.arrive(ALICE).await;
        let why = pair.refused(&mut Browser::default(), &callback, 401).await;
        assert!(why.contains("in this browser"), "{why}");
        // A browser with a sign-in of its own.
        let mut other = Browser::default();
        pair.departure(&mut other).await;
        pair.refused(&mut other, &callback, 401).await;
        let forged = callback.replace("state=", "state=x");
        pair.refused(&mut browser, &forged, 401).await;
        assert_eq!(browser.get(&callback).await.status(), 303);
    })
    .await;
}

#[tokio::test]
async fn codes_work_once_and_only_for_their_sign_in() {
    on_both_with_provider(|pair| async move {
        let (mut browser, callback) = pair.arrive(ALICE).await;
        let half = browser.cookie(&pair.server.base, SIGN_IN).unwrap().to_owned();
        assert_eq!(browser.get(&callback).await.status(), 303);
        let mut thief = Browser::default();
        thief.set_cookie(&pair.server.base, SIGN_IN, &half);
        let why = pair.refused(&mut thief, &callback, 401).await;
        assert!(why.contains("used already"), "{why}");

        // Somebody meddles with what the browser carries to the provider.
        for (parameter, expected) in [("nonce=", "another sign-in"), ("code_challenge=", "code")] {
            let mut browser = Browser::default();
            let departure = pair.departure(&mut browser).await;
            let at = departure.find(parameter).unwrap() + parameter.len();
            let letter = if departure[at..].starts_with('A') { "B" } else { "A" };
            let meddled = format!("{}{letter}{}", &departure[..at], &departure[at + 1..]);
            let callback = browser.sign_in(&meddled, ALICE, &pair.server.base).await;
            let why = pair.refused(&mut browser, &callback, 401).await;
            assert!(why.contains(expected), "{parameter}: {why}");
        }
    })
    .await;
}

#[tokio::test]
async fn new_keys_of_the_provider_are_found() {
    on_both_with_provider(|pair| async move {
        let (_, before) = pair.sign_in(ALICE).await;
        pair.provider.rotate_keys().await;
        let (_, after) = pair.sign_in(ALICE).await;
        assert_eq!(after["id"], before["id"]);
    })
    .await;
}

#[tokio::test]
async fn not_everybody_gets_an_account() {
    on_both_with_provider(|pair| async move {
        for (login, status, expected) in [
            ("unverified@example.com", 403, "verified"),
            ("alice@elsewhere.example", 403, "domain"),
            // Whoever runs the provider must not become the owner.
            (OWNER, 409, "in another way"),
        ] {
            let (mut browser, callback) = pair.arrive(login).await;
            let why = pair.refused(&mut browser, &callback, status).await;
            assert!(why.contains(expected), "{login}: {why}");
        }
        // An invitation opens the door, and being signed in with its address accepts it.
        let owner = &pair.server.owner;
        owner.invite("alice@elsewhere.example", "Organization Viewer").await.ok();
        let (browser, me) = pair.sign_in("alice@elsewhere.example").await;
        assert_eq!(me["org_ids"], serde_json::json!([]));
        let token = browser.cookie(&pair.server.base, SESSION).unwrap();
        let path = "/user/accept_invitation?email=alice@elsewhere.example&org_id=";
        let invited = owner.with(token);
        invited.get(&format!("{path}{}", owner.org)).await.ok();
        let me = invited.get("/user/me").await;
        assert_eq!(me.ok()["org_ids"], serde_json::json!([owner.org]));
        assert_eq!(me.ok()["members"][0]["roles"][0]["name"], "Organization Viewer");
    })
    .await;
}
