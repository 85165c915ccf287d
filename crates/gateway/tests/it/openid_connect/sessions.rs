//! Sessions in a Redis, sessions whose provider is asked again, and tokens nobody has signed.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gantry_testkit::{Browser, Origin, Redis, identity_provider::CLIENT_ID};
use serde_json::{Value, json};

use super::{
    SECRET, guarded, header, now,
    sign_in::{Answers, id_token, leave, rig},
};
use crate::harness::Rig;

/// A provider's answers for one person, with an access token of this length.
fn answers(length: usize) -> Answers {
    let token = "x".repeat(length);
    Arc::new(move |_: &str| json!({"access_token": token, "id_token": id_token(&json!({}))}))
}

/// Comes back from the provider to `/a`.
async fn come_back(rig: &Rig, browser: &mut Browser, query: &str) -> reqwest::Response {
    browser.get(&rig.gateway.url(&format!("/a/.apisix/redirect?{query}"))).await
}

async fn sign_in(rig: &Rig, browser: &mut Browser) {
    let state = leave(rig, browser, "/a").await;
    let back = come_back(rig, browser, &format!("code=c&state={state}")).await;
    assert_eq!(back.status(), 302);
}

#[tokio::test]
async fn a_redis_keeps_sessions_and_browsers_their_number() {
    let (directory, origin) = (tempfile::tempdir().unwrap(), Origin::start("one").await);
    let redis = Redis::start(directory.path(), &["--requirepass", "word"]).await;
    let redis_cli = |arguments: &[&str]| {
        redis.cli(&[&["-a", "word", "--no-auth-warning"][..], arguments].concat())
    };
    let kept = || {
        let keys = redis_cli(&["-n", "2", "KEYS", "people:*"]);
        keys.lines().filter(|key| !key.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    let session = json!({"secret": SECRET, "storage": "redis", "redis": {"host": "127.0.0.1",
        "port": redis.address.port(), "password": "word", "database": 2, "prefix": "people"}});
    let more = json!({"session": session, "set_access_token_header": false});
    // More than browsers keep.
    let (rig, _provider) = rig(&origin, answers(40_000), &more).await;
    let mut browser = Browser::default();
    sign_in(&rig, &mut browser).await;
    let cookie = browser.cookie(&rig.gateway.url(""), "session").unwrap().to_owned();
    assert!(cookie.len() < 300, "{cookie}");
    assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 200);
    let first = kept();
    assert_eq!(first.len(), 1);
    let left: i64 = redis_cli(&["-n", "2", "TTL", &first[0]]).parse().unwrap();
    assert!((800..=900).contains(&left), "as long as it may idle: {left}");
    let sealed = redis_cli(&["-n", "2", "GET", &first[0]]);
    assert!(!sealed.contains("xxxx"), "the Redis cannot read it");

    // Signing in again leaves nothing of the old session.
    let again = browser.get(&rig.gateway.url("/logout")).await;
    assert_eq!(again.status(), 200);
    assert_eq!(kept(), [""; 0]);
    browser.set_cookie(&rig.gateway.url(""), "session", &cookie);
    assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 302, "it has ended");
    sign_in(&rig, &mut browser).await;
    assert_ne!(kept(), first);
    assert_eq!(redis_cli(&["-n", "2", "FLUSHDB"]), "OK");
    assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 302);
    sign_in(&rig, &mut browser).await;
    drop(redis);
    assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 500, "nobody knows");
    assert_eq!(Browser::default().get(&rig.gateway.url("/a")).await.status(), 302);
}

#[tokio::test]
async fn the_provider_is_asked_again_whether_somebody_is_signed_in() {
    let origin = Origin::start("one").await;
    let more = json!({"refresh_session_interval": 0, "authorization_params": {"prompt": "login"}});
    let (rig, _provider) = rig(&origin, answers(10), &more).await;
    let (home, mut browser) = (rig.gateway.url(""), Browser::default());
    sign_in(&rig, &mut browser).await;
    let away = browser.get(&rig.gateway.url("/a")).await;
    assert_eq!(away.status(), 302);
    let location = header(&away, "location").to_owned();
    assert!(location.ends_with("&prompt=none") && !location.contains("login"), "{location}");
    // A form that is sent has to arrive.
    let cookie = format!("session={}", browser.cookie(&home, "session").unwrap());
    let post = rig.gateway.client.post(rig.gateway.url("/a")).header("cookie", cookie);
    assert_eq!(post.send().await.unwrap().status(), 200);

    let state = leave(&rig, &mut browser, "/a").await;
    let back = come_back(&rig, &mut browser, &format!("code=c&state={state}")).await;
    assert_eq!(header(&back, "location"), rig.gateway.url("/a"), "still there");
    let state = leave(&rig, &mut browser, "/a?b=1").await;
    let query = format!("error=login_required&state={state}");
    let back = come_back(&rig, &mut browser, &query).await;
    assert_eq!(
        (back.status().as_u16(), header(&back, "location")),
        (302, &*rig.gateway.url("/a?b=1"))
    );
    assert_eq!(browser.cookie(&home, "session"), None);
    let away = browser.get(&rig.gateway.url("/a?b=1")).await;
    assert!(header(&away, "location").ends_with("&prompt=login"), "somebody is asked");
    let (_, state) = header(&away, "location").split_once("state=").unwrap();
    let query = format!("error=login_required&state={}", state.split('&').next().unwrap());
    assert_eq!(come_back(&rig, &mut browser, &query).await.status(), 500, "nobody said silent");
}

#[tokio::test]
async fn id_tokens_that_nobody_has_signed_are_believed_if_that_is_configured() {
    let origin = Origin::start("one").await;
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let unsigned = |audience: &str, more: &str| {
        let claims = json!({"iss": "me", "aud": audience, "sub": "jack", "iat": now(),
            "exp": now() + 60});
        format!("{}.{}.{more}", part(json!({"alg": "none"})), part(claims))
    };
    for (settings, token, status) in [
        (json!({"accept_none_alg": true}), unsigned(CLIENT_ID, ""), 200),
        (json!({"accept_none_alg": true}), unsigned(CLIENT_ID, "AAAA"), 302),
        (json!({"accept_none_alg": true}), unsigned("another", ""), 302),
        (json!({}), unsigned(CLIENT_ID, ""), 302),
        (
            json!({"accept_none_alg": true, "token_signing_alg_values_expected": "HS256"}),
            unsigned(CLIENT_ID, ""),
            302,
        ),
    ] {
        let tokens: Answers =
            Arc::new(move |_: &str| json!({"access_token": "t", "id_token": token}));
        let (rig, _provider) = rig(&origin, tokens, &settings).await;
        let mut browser = Browser::default();
        let state = leave(&rig, &mut browser, "/a").await;
        let back = come_back(&rig, &mut browser, &format!("code=c&state={state}")).await;
        assert_eq!(back.status().as_u16(), if status == 200 { 302 } else { 500 }, "{settings}");
        assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), status, "{settings}");
    }
}

#[tokio::test]
async fn answers_about_tokens_are_kept_as_long_as_is_configured() {
    let origin = Origin::start("one").await;
    let provider = crate::stand_in::StandIn::start(|_| {
        let body = json!({"active": true, "exp": now() + 1000, "sub": "jack"});
        ("200 OK", super::JSON, body.to_string())
    })
    .await;
    let rig = Rig::start(&[]).await;
    let mut before = 0;
    for (settings, questions) in [
        (json!({"introspection_interval": 600}), 3),
        (json!({"introspection_expiry_claim": "exp"}), 3),
        (json!({"introspection_expiry_claim": "expires_in"}), 5),
        (json!({}), 5),
    ] {
        let mut all = json!({"bearer_only": true, "introspection_addon_headers": ["x-tenant"],
            "introspection_endpoint": format!("http://{}/i", provider.address)});
        all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        rig.put("routes/1", &guarded(&origin, "http://127.0.0.1:1/", &all)).await;
        for (token, tenant) in [("t", "a"), ("t", "a"), ("u", "a"), ("t", "b"), ("u", "a")] {
            let request = rig.gateway.client.get(rig.gateway.url("/a")).bearer_auth(token);
            let status = request.header("x-tenant", tenant).send().await.unwrap().status();
            assert_eq!(status, 200);
        }
        let asked = provider.heard().len() - before;
        assert_eq!(asked, questions, "{settings}");
        before += asked;
    }
}
