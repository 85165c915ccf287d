//! How the gateway says who it is to a provider, and what it tells it before a browser does.

use gantry_testkit::{Browser, Origin, identity_provider::CLIENT_SECRET};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use super::{
    JSON, RSA_PRIVATE, RSA_PUBLIC, SECRET, decoded, guarded, header, now, sign_in::id_token,
};
use crate::{harness::Rig, stand_in::StandIn};

const EC_PRIVATE: &str = include_str!("../../../src/plugin/tests/keys/ec.pem");
const EC_PUBLIC: &str = include_str!("../../../src/plugin/tests/keys/ec.pub");
const EC521_PRIVATE: &str = include_str!("../../../src/plugin/tests/keys/ec521.pem");

/// The public key of `EC_PRIVATE`.
fn ec_jwk() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "4Rxv5EJd2UR_EpEkbmDpkmowLosfinFrv8SvCSeHDy0",
        "y": "cFeLYPAv_RlqoShd1KrN9nimBD83GjVziIN2PeSqWAQ"})
}

/// A provider that knows every token.
async fn introspection() -> StandIn {
    StandIn::start(|_| ("200 OK", JSON, json!({"active": true, "sub": "jack"}).to_string())).await
}

/// The decoded fields of a form, in their order.
fn fields(request: &str) -> Vec<(String, String)> {
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let url = format!("http://a/?{body}");
    reqwest::Url::parse(&url).unwrap().query_pairs().into_owned().collect()
}

fn field(request: &str, name: &str) -> String {
    let found: Vec<_> = fields(request).into_iter().filter(|(key, _)| key == name).collect();
    assert_eq!(found.len(), 1, "`{name}` in {request}");
    found[0].1.clone()
}

/// The value of a header.
fn sent<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    let prefix = format!("{name}: ");
    request.lines().find_map(|line| line.strip_prefix(prefix.as_str()))
}

/// Claims of a token that this key has signed for this audience.
fn claims(token: &str, algorithm: Algorithm, key: &DecodingKey, audience: &str) -> Value {
    let mut validation = Validation::new(algorithm);
    validation.set_audience(&[audience]);
    jsonwebtoken::decode::<Value>(token, key, &validation).unwrap().claims
}

#[tokio::test]
async fn a_signed_assertion_says_who_asks() {
    let (origin, provider) = (Origin::start("one").await, introspection().await);
    let url = format!("http://{}/i", provider.address);
    let rig = Rig::start(&[]).await;
    let ask = async |more: Value| {
        let mut settings = json!({"bearer_only": true, "introspection_endpoint": url});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut route = guarded(&origin, "http://127.0.0.1:1/", &settings);
        if more.get("client_rsa_private_key").is_some() {
            let config = route["plugins"]["openid-connect"].as_object_mut().unwrap();
            config.remove("client_secret");
        }
        rig.put("routes/1", &route).await;
        let request = rig.gateway.client.get(rig.gateway.url("/a")).bearer_auth("t");
        assert_eq!(request.send().await.unwrap().status(), 200, "{more}");
        let question = provider.heard().pop().unwrap();
        assert_eq!(sent(&question, "authorization"), None);
        assert_eq!(field(&question, "client_id"), "gantry");
        assert!(!question.contains("client_secret="), "{question}");
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        assert_eq!(field(&question, "client_assertion_type"), kind);
        field(&question, "client_assertion")
    };
    let rsa = json!({"introspection_endpoint_auth_method": "private_key_jwt",
        "client_rsa_private_key": RSA_PRIVATE, "client_rsa_private_key_id": "k1"});
    let mut seen = Vec::new();
    for _ in 0..2 {
        let token = ask(rsa.clone()).await;
        let head = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((head.alg, head.kid.as_deref()), (Algorithm::RS256, Some("k1")));
        let key = DecodingKey::from_rsa_pem(RSA_PUBLIC.as_bytes()).unwrap();
        let claims = claims(&token, Algorithm::RS256, &key, &url);
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gantry"), &json!("gantry")));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        assert!((now() - claims["iat"].as_i64().unwrap()).abs() < 60);
        seen.push(claims["jti"].clone());
    }
    assert_ne!(seen[0], seen[1], "every assertion is used once");

    let shared = json!({"introspection_endpoint_auth_method": "client_secret_jwt",
        "client_jwt_assertion_alg": "HS512", "client_jwt_assertion_audience": "the provider",
        "client_jwt_assertion_expires_in": 5});
    let key = DecodingKey::from_secret(CLIENT_SECRET.as_bytes());
    let claims = claims(&ask(shared).await, Algorithm::HS512, &key, "the provider");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 5);

    let p521 = json!({"introspection_endpoint_auth_method": "private_key_jwt",
        "client_rsa_private_key": EC521_PRIVATE, "client_jwt_assertion_alg": "ES512"});
    let token = ask(p521).await;
    // Two numbers of 66 bytes, in base64.
    assert_eq!(token.rsplit_once('.').unwrap().1.len(), 176);
}

/// A provider that does all that is asked of it, and wants to see a nonce in proofs.
async fn provider() -> StandIn {
    StandIn::start(|request| {
        let url = format!("http://{}", sent(request, "host").unwrap());
        let proof = sent(request, "dpop");
        let nonce = proof.map(|proof| payload(proof)["nonce"].clone());
        let (head, body) = match request.split(' ').nth(1).unwrap() {
            _ if nonce.as_ref().is_some_and(|nonce| *nonce != "n1") => {
                let head = "DPoP-Nonce: n1\r\nContent-Type: application/json\r\n";
                return ("400 Bad Request", head, json!({"error": "use_dpop_nonce"}).to_string());
            }
            "/push" => ("201 Created", json!({"request_uri": "urn:pushed", "expires_in": 60})),
            "/tokens" => {
                let kind = if proof.is_some() { "DPoP" } else { "Bearer" };
                let token = id_token(&json!({}));
                ("200 OK", json!({"access_token": "bound", "token_type": kind, "id_token": token}))
            }
            "/userinfo" => ("200 OK", json!({"sub": "jack", "email": "jack@example.com"})),
            _ => (
                "200 OK",
                json!({"issuer": "me",
                "authorization_endpoint": format!("{url}/sign-in?x=1"),
                "token_endpoint": format!("{url}/tokens"),
                "userinfo_endpoint": format!("{url}/userinfo"),
                "pushed_authorization_request_endpoint": format!("{url}/push")}),
            ),
        };
        (head, JSON, body.to_string())
    })
    .await
}

/// What a token says, whoever has signed it.
fn payload(token: &str) -> Value {
    jsonwebtoken::dangerous::insecure_decode::<Value>(token).unwrap().claims
}

/// The requests that begin like this.
fn heard(provider: &StandIn, start: &str) -> Vec<String> {
    provider.heard().into_iter().filter(|text| text.starts_with(start)).collect()
}

#[tokio::test]
async fn a_provider_is_told_beforehand_what_a_browser_will_ask() {
    let (origin, provider) = (Origin::start("one").await, provider().await);
    let settings = json!({"session": {"secret": SECRET}, "use_pkce": true, "use_nonce": false,
        "authorization_params": {"prompt": "login"}, "par": {"enabled": true}});
    let discovery = format!("http://{}/", provider.address);
    let rig = Rig::start(&[("routes/1", guarded(&origin, &discovery, &settings))]).await;
    let mut browser = Browser::default();
    let away = browser.get(&rig.gateway.url("/a")).await;
    let expected = format!(
        "http://{}/sign-in?x=1&client_id=gantry&request_uri=urn%3Apushed",
        provider.address
    );
    assert_eq!((away.status().as_u16(), header(&away, "location")), (302, &*expected));
    let pushed = heard(&provider, "POST /push ").remove(0);
    assert!(sent(&pushed, "authorization").unwrap().starts_with("Basic "), "{pushed}");
    let redirect_uri = rig.gateway.url("/a/.apisix/redirect");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "gantry"),
        ("scope", "openid"),
        ("code_challenge_method", "S256"),
        ("prompt", "login"),
        ("redirect_uri", &*redirect_uri),
    ] {
        assert_eq!(field(&pushed, name), value, "{name}");
    }
    let state = field(&pushed, "state");
    let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
    assert_eq!(browser.get(&back).await.status(), 302);
    assert_eq!(browser.get(&rig.gateway.url("/a")).await.status(), 200);

    // Somewhere else, and with the secret in the form: nothing is there twice.
    let mut settings = settings;
    settings["par"] = json!({"enabled": true, "endpoint": format!("http://{}/push", provider.address),
        "endpoint_auth_method": "client_secret_post"});
    rig.put("routes/1", &guarded(&origin, &discovery, &settings)).await;
    assert_eq!(rig.gateway.get("localhost", "/a").await.status(), 302);
    let pushed = heard(&provider, "POST /push ").remove(1);
    assert_eq!(field(&pushed, "client_id"), "gantry");
    assert_eq!(field(&pushed, "client_secret"), CLIENT_SECRET);
}

#[tokio::test]
async fn tokens_are_bound_to_a_key_of_the_gateway() {
    let (origin, provider) = (Origin::start("one").await, provider().await);
    let settings = json!({"session": {"secret": SECRET}, "dpop": {"enabled": true,
        "private_key": EC_PRIVATE, "public_jwk": ec_jwk()}});
    let discovery = format!("http://{}/", provider.address);
    let rig = Rig::start(&[("routes/1", guarded(&origin, &discovery, &settings))]).await;
    let mut browser = Browser::default();
    let away = browser.get(&rig.gateway.url("/a")).await;
    let (_, state) = header(&away, "location").split_once("state=").unwrap();
    let back = rig.gateway.url(&format!("/a/.apisix/redirect?code=c&state={state}"));
    assert_eq!(browser.get(&back).await.status(), 302);
    let seen: Value = browser.get(&rig.gateway.url("/a")).await.json().await.unwrap();
    assert_eq!(decoded(&seen, "x-userinfo")["email"], "jack@example.com");

    for (start, method, path, ath) in [
        ("POST /tokens ", "POST", "/tokens", None),
        // The hash of `bound` (RFC 9449, section 4.2).
        ("GET /userinfo ", "GET", "/userinfo", Some("Xhz0KHjfWP6nv6RbcVt4MtiJCSrSPoAuY5ErG_0gVjA")),
    ] {
        let requests = heard(&provider, start);
        assert_eq!(requests.len(), 2, "{start}: once without a nonce, once with it");
        let proofs: Vec<_> = requests.iter().map(|it| sent(it, "dpop").unwrap()).collect();
        let head = jsonwebtoken::decode_header(proofs[1]).unwrap();
        assert_eq!(head.typ.as_deref(), Some("dpop+jwt"));
        assert_eq!(serde_json::to_value(head.jwk).unwrap()["x"], ec_jwk()["x"]);
        let key = DecodingKey::from_ec_pem(EC_PUBLIC.as_bytes()).unwrap();
        let mut validation = Validation::new(Algorithm::ES256);
        validation.required_spec_claims.clear();
        validation.validate_aud = false;
        let claims = jsonwebtoken::decode::<Value>(proofs[1], &key, &validation).unwrap().claims;
        assert_eq!(claims["htm"], method);
        assert_eq!(claims["htu"], format!("http://{}{path}", provider.address));
        assert_eq!(claims["nonce"], "n1");
        assert_eq!(claims.get("ath").and_then(Value::as_str), ath);
        assert_ne!(claims["jti"], payload(proofs[0])["jti"]);
    }
    let bound = heard(&provider, "GET /userinfo ");
    assert_eq!(sent(&bound[1], "authorization"), Some("DPoP bound"));
}

#[tokio::test]
async fn proxies_lead_to_the_provider_but_not_everywhere() {
    let origin = Origin::start("one").await;
    let (proxy, provider) = (introspection().await, introspection().await);
    let rig = Rig::start(&[]).await;
    let ask = async |endpoint: &str| {
        let settings = json!({"bearer_only": true, "introspection_endpoint": endpoint,
            "proxy_opts": {"http_proxy": format!("http://{}", proxy.address),
                "http_proxy_authorization": "Basic abc", "no_proxy": "127.0.0.1"}});
        rig.put("routes/1", &guarded(&origin, "http://127.0.0.1:1/", &settings)).await;
        let request = rig.gateway.client.get(rig.gateway.url("/a")).bearer_auth("t");
        assert_eq!(request.send().await.unwrap().status(), 200, "{endpoint}");
    };
    ask("http://id.invalid/i").await;
    let heard = proxy.heard();
    assert!(heard[0].starts_with("POST http://id.invalid/i HTTP/1.1\r\n"), "{}", heard[0]);
    assert_eq!(sent(&heard[0], "proxy-authorization"), Some("Basic abc"));
    ask(&format!("http://{}/i", provider.address)).await;
    assert_eq!((proxy.heard().len(), provider.heard().len()), (1, 1));
}
