//! Browsers: sent away, taken back, known by their session, and signed out.

use std::sync::Arc;

use gantry_testkit::{
    Browser, IdentityProvider, Origin,
    identity_provider::{CLIENT_ID, CLIENT_SECRET},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::{JSON, RSA_PRIVATE, SECRET, decoded, guarded, header, invalid, now};
use crate::{harness::Rig, stand_in::StandIn};

#[tokio::test]
async fn a_browser_signs_in_at_a_real_provider_and_out_again() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[]).await;
    let home = rig.gateway.url("");
    let provider = IdentityProvider::start(&format!("{home}/callback")).await;
    let discovery = format!("{}/.well-known/openid-configuration", provider.issuer);
    let settings = json!({"session": {"secret": SECRET}, "use_pkce": true, "use_nonce": true,
        "scope": "openid email", "redirect_uri": "/callback", "set_raw_id_token_header": true});
    rig.put("routes/1", &guarded(&origin, &discovery, &settings)).await;

    let mut browser = Browser::default();
    let away = browser.get(&format!("{home}/a?b=1")).await;
    assert_eq!(away.status(), 302);
    let location = header(&away, "location").to_owned();
    assert!(location.starts_with(&provider.issuer), "{location}");
    let callback = browser.sign_in(&location, "alice@example.com", &home).await;
    assert_eq!(Browser::default().get(&callback).await.status(), 500, "another browser");
    let back = browser.get(&callback).await;
    assert_eq!(
        (back.status().as_u16(), header(&back, "location")),
        (302, &*format!("{home}/a?b=1"))
    );
    for cookie in back.headers().get_all("set-cookie") {
        let cookie = cookie.to_str().unwrap();
        assert!(cookie.contains("; Path=/; HttpOnly; SameSite=Lax"), "{cookie}");
    }
    let seen: Value = browser.get(&format!("{home}/a?b=1")).await.json().await.unwrap();
    assert_eq!(seen["query"], "b=1");
    assert!(seen["headers"]["x-access-token"].is_string(), "{seen}");
    assert_eq!(decoded(&seen, "x-id-token")["sub"], "alice@example.com");
    assert_eq!(decoded(&seen, "x-userinfo")["email"], "alice@example.com");

    // The provider's published keys vouch for the same token where only tokens count.
    let raw = seen["headers"]["x-raw-id-token"].as_str().unwrap();
    let mut tokens_only =
        guarded(&origin, &discovery, &json!({"bearer_only": true, "use_jwks": true}));
    tokens_only["uri"] = json!("/tokens");
    rig.put("routes/2", &tokens_only).await;
    let request = rig.gateway.client.get(rig.gateway.url("/tokens")).bearer_auth(raw);
    assert_eq!(request.send().await.unwrap().status(), 200);
    for (id, reason) in [
        (None, "the token's signature is not valid"),
        (Some("x"), "the token is signed with a key that is not published"),
    ] {
        let head = Header { kid: id.map(str::to_owned), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
        let strange = jsonwebtoken::encode(&head, &json!({"iss": provider.issuer}), &key).unwrap();
        let request = rig.gateway.client.get(rig.gateway.url("/tokens")).bearer_auth(strange);
        let refused = request.send().await.unwrap();
        assert_eq!(header(&refused, "www-authenticate"), invalid(reason));
    }

    let session = browser.cookie(&home, "session").unwrap().to_owned();
    browser.set_cookie(&home, "session", &format!("{session}x"));
    assert_eq!(browser.get(&format!("{home}/a")).await.status(), 302, "nobody makes a session up");
    browser.set_cookie(&home, "session", &session);
    let out = browser.get(&format!("{home}/logout")).await;
    assert_eq!(out.status(), 302);
    let location = header(&out, "location");
    assert!(
        location.starts_with(&format!("{}/session/end?id_token_hint=", provider.issuer)),
        "{location}"
    );
    assert_eq!(browser.cookie(&home, "session"), None);
    assert_eq!(browser.get(&format!("{home}/a")).await.status(), 302);
}

/// What a stand-in provider answers at its token endpoint, with an ID token for these claims.
pub type Answers = Arc<dyn Fn(&str) -> Value + Send + Sync>;

/// A provider that signs ID tokens with the client's secret.
async fn provider(tokens: Answers) -> StandIn {
    StandIn::start(move |request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let url = format!("http://{host}");
        let path = request.split(' ').nth(1).unwrap();
        let body = match path {
            "/tokens" => tokens(request),
            "/revoke" => json!({}),
            _ => json!({"issuer": "me", "authorization_endpoint": format!("{url}/sign-in"),
                "token_endpoint": format!("{url}/tokens"), "revocation_endpoint": format!("{url}/revoke")}),
        };
        ("200 OK", JSON, body.to_string())
    })
    .await
}

/// An ID token that the client's secret has signed.
pub fn id_token(more: &Value) -> String {
    let mut claims =
        json!({"iss": "me", "aud": CLIENT_ID, "sub": "jack", "iat": now(), "exp": now() + 60});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let key = EncodingKey::from_secret(CLIENT_SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).unwrap()
}

/// A gateway that sends browsers to a stand-in.
pub async fn rig(origin: &Origin, tokens: Answers, more: &Value) -> (Rig, StandIn) {
    let provider = provider(tokens).await;
    let mut settings = json!({"session": {"secret": SECRET}});
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let discovery = format!("http://{}/", provider.address);
    let rig = Rig::start(&[("routes/1", guarded(origin, &discovery, &settings))]).await;
    (rig, provider)
}

/// Leaves for the provider from a page; the state that it has to bring back.
pub async fn leave(rig: &Rig, browser: &mut Browser, page: &str) -> String {
    let away = browser.get(&rig.gateway.url(page)).await;
    assert_eq!(away.status(), 302);
    let location = header(&away, "location");
    let (_, rest) = location.split_once("state=").unwrap();
    rest.split('&').next().unwrap().to_owned()
}

#[tokio::test]
async fn what_is_sent_to_the_provider_is_as_configured() {
    let origin = Origin::start("one").await;
    let more = json!({"scope": "openid profile", "authorization_params": {"prompt": "login"}});
    let (rig, provider) = rig(&origin, Arc::new(|_| json!({})), &more).await;
    let away = rig.gateway.get("a.com", "/page/?x=1").await;
    let location = header(&away, "location").to_owned();
    assert_eq!(header(&away, "cache-control"), "no-store");
    let start = format!(
        "http://{}/sign-in?response_type=code&client_id=gantry&redirect_uri=\
        http%3A%2F%2Fa.com%2Fpage%2F.apisix%2Fredirect&scope=openid+profile&state=",
        provider.address
    );
    assert!(location.starts_with(&start), "{location}");
    assert!(location.ends_with("&prompt=login"), "{location}");
    assert!(!location.contains("nonce=") && !location.contains("code_challenge="), "{location}");
}

#[tokio::test]
async fn sessions_are_renewed_when_the_access_token_ends() {
    let origin = Origin::start("one").await;
    let answers = |request: &str| {
        if request.contains("grant_type=refresh_token&refresh_token=r1&scope=openid") {
            json!({"access_token": "second", "expires_in": 1000})
        } else {
            json!({"access_token": "first", "expires_in": 0, "refresh_token": "r1",
                "id_token": id_token(&json!({}))})
        }
    };
    let more = json!({"set_refresh_token_header": true, "revoke_tokens_on_logout": true,
        "post_logout_redirect_uri": "http://bye/", "logout_path": "/out"});
    let (rig, provider) = rig(&origin, Arc::new(answers), &more).await;
    let mut browser = Browser::default();
    let state = leave(&rig, &mut browser, "/a").await;
    let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
    assert_eq!(browser.get(&back).await.status(), 302);
    let seen: Value = browser.get(&rig.gateway.url("/a")).await.json().await.unwrap();
    assert_eq!(seen["headers"]["x-access-token"], "second");
    assert_eq!(seen["headers"]["x-refresh-token"], "r1");
    let again = browser.get(&rig.gateway.url("/a")).await;
    assert_eq!(again.headers().get("set-cookie"), None, "the renewed session is kept");
    assert_eq!(again.json::<Value>().await.unwrap()["headers"]["x-access-token"], "second");
    let renewals =
        provider.heard().iter().filter(|text| text.contains("grant_type=refresh")).count();
    assert_eq!(renewals, 1);
    let out = browser.get(&rig.gateway.url("/out")).await;
    assert_eq!(header(&out, "location"), "http://bye/");
    let revoked: Vec<_> =
        provider.heard().into_iter().filter(|text| text.starts_with("POST /revoke ")).collect();
    assert!(revoked[0].ends_with("token=r1") && revoked[1].ends_with("token=second"));
}

#[tokio::test]
async fn sessions_of_any_size_are_kept_in_pieces() {
    let origin = Origin::start("one").await;
    let large = "x".repeat(9000);
    let answers = move |_: &str| json!({"access_token": large, "id_token": id_token(&json!({}))});
    let more = json!({"set_access_token_header": false});
    let (rig, _provider) = rig(&origin, Arc::new(answers), &more).await;
    let mut browser = Browser::default();
    let state = leave(&rig, &mut browser, "/a").await;
    let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
    let signed_in = browser.get(&back).await;
    for cookie in signed_in.headers().get_all("set-cookie") {
        assert!(cookie.len() < 4096, "{}", cookie.len());
    }
    assert!(browser.cookie(&rig.gateway.url(""), "session4").is_some());
    let seen: Value = browser.get(&rig.gateway.url("/a")).await.json().await.unwrap();
    assert_eq!(decoded(&seen, "x-id-token")["sub"], "jack");
    assert_eq!(seen["headers"].get("x-access-token"), None);
}

#[tokio::test]
async fn id_tokens_for_others_sign_nobody_in() {
    let origin = Origin::start("one").await;
    for wrong in [
        json!({"iss": "you"}),
        json!({"aud": "another"}),
        json!({"azp": "another"}),
        json!({"exp": now() - 1000}),
        json!({"nonce": "another"}),
    ] {
        let token = id_token(&wrong);
        let answers = move |_: &str| json!({"access_token": "t", "id_token": token});
        let (rig, _provider) = rig(&origin, Arc::new(answers), &json!({"use_nonce": true})).await;
        let mut browser = Browser::default();
        let state = leave(&rig, &mut browser, "/a").await;
        let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
        assert_eq!(browser.get(&back).await.status(), 500, "{wrong}");
        assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 302);
    }
    assert_eq!(origin.requests(), 0);
}

#[tokio::test]
async fn a_stale_sign_in_is_begun_again_but_not_for_ever() {
    let origin = Origin::start("one").await;
    let (rig, _provider) = rig(&origin, Arc::new(|_| json!({})), &json!({})).await;
    let mut browser = Browser::default();
    let back = |state: &str, more: &str| {
        rig.gateway.url(&format!("/a/.apisix/redirect?state={state}{more}"))
    };
    for _ in 0..3 {
        leave(&rig, &mut browser, "/a?b=1").await;
        let again = browser.get(&back("old", "&code=c")).await;
        assert_eq!(again.status(), 302);
        assert_eq!(header(&again, "location"), rig.gateway.url("/a?b=1"));
    }
    let state = leave(&rig, &mut browser, "/a").await;
    let end = browser.get(&back(&state, "&error=temporarily_unavailable")).await;
    assert_eq!(end.status(), 500);
    let mut other = Browser::default();
    let state = leave(&rig, &mut other, "/a").await;
    assert_eq!(other.get(&back(&state, "&error=temporarily_unavailable")).await.status(), 302);
    let state = leave(&rig, &mut other, "/a").await;
    let denied = other.get(&back(&state, "&error=access_denied")).await;
    assert_eq!(denied.status(), 500);
    assert!(denied.text().await.unwrap().contains("500 Internal Server Error"));
}

#[tokio::test]
async fn those_who_have_not_signed_in_are_denied_or_passed() {
    let origin = Origin::start("one").await;
    let (rig, provider) =
        rig(&origin, Arc::new(|_| json!({})), &json!({"unauth_action": "deny"})).await;
    assert_eq!(rig.gateway.get("a", "/a").await.status(), 401);
    let settings = json!({"session": {"secret": SECRET}, "unauth_action": "pass"});
    let discovery = format!("http://{}/", provider.address);
    rig.put("routes/1", &guarded(&origin, &discovery, &settings)).await;
    let request = rig.gateway.client.get(rig.gateway.url("/a")).header("x-userinfo", "forged");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["headers"].get("x-userinfo"), None);
    rig.put(
        "routes/1",
        &guarded(&origin, "http://127.0.0.1:1/", &json!({"session": {"secret": SECRET}})),
    )
    .await;
    assert_eq!(rig.gateway.get("a", "/logout").await.status(), 503);
    assert_eq!(rig.gateway.get("a", "/a").await.status(), 500);
}

#[tokio::test]
async fn required_scopes_are_those_of_the_access_token() {
    let origin = Origin::start("one").await;
    for (access, status) in [
        (id_token(&json!({"scope": "read admin"})), 200),
        (id_token(&json!({"scope": "read"})), 403),
        ("opaque".to_owned(), 403),
    ] {
        let answers =
            move |_: &str| json!({"access_token": access, "id_token": id_token(&json!({}))});
        let more = json!({"required_scopes": ["admin"]});
        let (rig, _provider) = rig(&origin, Arc::new(answers), &more).await;
        let mut browser = Browser::default();
        let state = leave(&rig, &mut browser, "/a").await;
        let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
        browser.get(&back).await;
        assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), status);
    }
}
