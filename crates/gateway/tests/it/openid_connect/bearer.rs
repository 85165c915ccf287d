//! Tokens that the provider, its keys or a configured key vouch for.

use base64::{Engine, engine::general_purpose::STANDARD};
use gantry_testkit::Origin;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Response;
use serde_json::{Value, json};

use super::{JSON, RSA_PRIVATE, RSA_PUBLIC, decoded, guarded, header, invalid, now};
use crate::{harness::Rig, stand_in::StandIn};

/// Asks with an Authorization header.
async fn ask(rig: &Rig, authorization: &str) -> Response {
    let request = rig.gateway.client.get(rig.gateway.url("/a"));
    request.header("authorization", authorization).send().await.unwrap()
}

/// A provider that knows the token `good`, with some scopes.
async fn introspection() -> StandIn {
    StandIn::start(|request| {
        let good = request.ends_with("token=good&token_type_hint=access_token");
        let body = json!({"active": good, "scope": "read write", "sub": "jack", "aud": ["gantry"]});
        ("200 OK", JSON, body.to_string())
    })
    .await
}

#[tokio::test]
async fn tokens_are_introspected() {
    let (origin, provider) = (Origin::start("one").await, introspection().await);
    let base = format!("http://{}", provider.address);
    let mut settings = json!({"bearer_only": true, "introspection_endpoint": format!("{base}/i"),
        "introspection_addon_headers": ["x-tenant"]});
    let put = async |rig: &Rig, settings: &Value| {
        rig.put("routes/1", &guarded(&origin, &base, settings)).await;
    };
    let rig = Rig::start(&[("routes/1", guarded(&origin, &base, &settings))]).await;
    let request = rig.gateway.client.get(rig.gateway.url("/a"));
    let request = request.header("authorization", "bearer good").header("x-tenant", "t");
    let request = request.header("x-userinfo", "forged").header("x-id-token", "forged");
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(seen["headers"]["x-access-token"], "good");
    assert_eq!(decoded(&seen, "x-userinfo")["sub"], "jack");
    assert_eq!(seen["headers"].get("x-id-token"), None);
    let question = provider.heard().remove(0);
    let basic = STANDARD.encode("gantry:a%20secret%2C%20with%20%2B%20%26%20%25%20in%20it");
    assert!(question.contains(&format!("\r\nauthorization: Basic {basic}\r\n")), "{question}");
    assert!(question.contains("\r\nx-tenant: t\r\n"), "{question}");

    let request = rig.gateway.client.get(rig.gateway.url("/a")).header("x-access-token", "good");
    assert_eq!(request.send().await.unwrap().status(), 200);
    let bad = ask(&rig, "Bearer bad").await;
    assert_eq!(
        (bad.status().as_u16(), header(&bad, "www-authenticate")),
        (401, &*invalid("invalid token"))
    );
    let none = rig.gateway.get("a", "/a").await;
    assert_eq!(
        (none.status().as_u16(), header(&none, "www-authenticate")),
        (401, "Bearer realm=\"apisix\"")
    );
    assert_eq!(ask(&rig, "Bearer").await.status(), 400);
    assert_eq!(ask(&rig, "Basic eDp5").await.status(), 401);

    settings["access_token_in_authorization_header"] = json!(true);
    settings["set_userinfo_header"] = json!(false);
    put(&rig, &settings).await;
    let seen: Value = ask(&rig, "Bearer good").await.json().await.unwrap();
    assert_eq!(seen["headers"]["authorization"], "Bearer good");
    assert_eq!(seen["headers"].get("x-userinfo"), None);

    for (key, value, status, body) in [
        ("required_scopes", json!(["read", "write"]), 200, ""),
        (
            "required_scopes",
            json!(["read", "admin"]),
            403,
            "required scopes read, admin not present",
        ),
        ("claim_validator", json!({"audience": {"match_with_client_id": true}}), 200, ""),
        (
            "claim_validator",
            json!({"audience": {"claim": "azp", "required": true}}),
            403,
            "required audience claim not present",
        ),
        (
            "claim_validator",
            json!({"audience": {"claim": "sub", "match_with_client_id": true}}),
            403,
            "mismatched audience",
        ),
        ("claim_schema", json!({"required": ["sub"]}), 200, ""),
        ("claim_schema", json!({"required": ["email"]}), 401, ""),
    ] {
        let mut settings = settings.clone();
        settings[key] = value.clone();
        put(&rig, &settings).await;
        let response = ask(&rig, "Bearer good").await;
        assert_eq!(response.status(), status, "{key} {value}");
        let text = response.text().await.unwrap();
        if status == 403 {
            assert_eq!(text, format!("{{\"error\":\"{body}\"}}\n"));
        }
    }
}

/// A token signed with the key that the gateway trusts.
fn signed(claims: &Value) -> String {
    let key = EncodingKey::from_rsa_pem(RSA_PRIVATE.as_bytes()).unwrap();
    jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &key).unwrap()
}

#[tokio::test]
async fn tokens_are_verified_with_a_configured_key() {
    let origin = Origin::start("one").await;
    // Nobody listens there: issuers are configured.
    let discovery = "http://127.0.0.1:1/";
    let mut settings = json!({"bearer_only": true, "public_key": RSA_PUBLIC,
        "claim_validator": {"issuer": {"valid_issuers": ["me"]}}});
    let rig = Rig::start(&[("routes/1", guarded(&origin, discovery, &settings))]).await;
    let challenge = async |token: &str| {
        let response = ask(&rig, &format!("Bearer {token}")).await;
        (response.status().as_u16(), header(&response, "www-authenticate").to_owned())
    };
    let good = signed(&json!({"iss": "me", "exp": now() + 60}));
    assert_eq!(challenge(&good).await.0, 200);
    let forged = jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &json!({"iss": "me"}),
        &EncodingKey::from_secret(RSA_PUBLIC.as_bytes()),
    );
    for (token, reason) in [
        ("nonsense".to_owned(), "the token is not a JWT"),
        (signed(&json!({"iss": "you"})), "the token's issuer is not valid"),
        (signed(&json!({"exp": now() - 1000})), "the token has expired or is not valid yet"),
        (signed(&json!({"nbf": now() + 1000})), "the token has expired or is not valid yet"),
        (forged.unwrap(), "the token's algorithm is not supported"),
        (format!("{good}x"), "the token's signature is not valid"),
    ] {
        assert_eq!(challenge(&token).await, (401, invalid(reason)));
    }
    settings["token_signing_alg_values_expected"] = json!("RS512");
    rig.put("routes/1", &guarded(&origin, discovery, &settings)).await;
    let reason = "the token's algorithm is not the expected one";
    assert_eq!(challenge(&good).await, (401, invalid(reason)));
    let unchecked = json!({"bearer_only": true, "public_key": RSA_PUBLIC});
    rig.put("routes/1", &guarded(&origin, discovery, &unchecked)).await;
    assert_eq!(challenge(&good).await, (401, invalid("issuer validation unavailable")));
}

#[tokio::test]
async fn the_provider_says_where_it_is_asked_and_acl_hears_what_it_knows() {
    let origin = Origin::start("one").await;
    let provider = StandIn::start(|request| {
        let host = request.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let body = if request.starts_with("GET / ") {
            json!({"introspection_endpoint": format!("http://{host}/ask")})
        } else {
            json!({"active": true, "groups": ["staff"]})
        };
        ("200 OK", JSON, body.to_string())
    })
    .await;
    let settings =
        json!({"bearer_only": true, "introspection_endpoint_auth_method": "client_secret_post"});
    let mut route = guarded(&origin, &format!("http://{}/", provider.address), &settings);
    route["plugins"]["acl"] = json!({"allow_labels": {"groups": ["staff", "guests"]}});
    let rig = Rig::start(&[("routes/1", route.clone())]).await;
    assert_eq!(ask(&rig, "Bearer t").await.status(), 200);
    assert_eq!(ask(&rig, "Bearer t").await.status(), 200);
    let heard = provider.heard();
    assert!(heard[0].starts_with("GET / "), "{}", heard[0]);
    for question in &heard[1..] {
        assert!(question.starts_with("POST /ask "), "the description is kept: {question}");
        let secret =
            "client_id=gantry&client_secret=a%20secret%2C%20with%20%2B%20%26%20%25%20in%20it";
        assert!(question.ends_with(secret), "{question}");
        assert!(!question.contains("authorization: "), "{question}");
    }
    route["plugins"]["acl"] = json!({"deny_labels": {"groups": ["staff"]}});
    rig.put("routes/1", &route).await;
    assert_eq!(ask(&rig, "Bearer t").await.status(), 403);
}
