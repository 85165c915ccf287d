//! openid-connect: bearer tokens, and browsers that sign in at a real provider and at a stand-in
//! that does what real ones must not.

mod bearer;
mod clients;
mod sessions;
mod sign_in;

use base64::{Engine, engine::general_purpose::STANDARD};
use gantry_testkit::{
    Origin,
    identity_provider::{CLIENT_ID, CLIENT_SECRET},
};
use reqwest::Response;
use serde_json::{Value, json};

use crate::harness::{Rig, route};

const RSA_PRIVATE: &str = include_str!("../../../src/plugin/tests/keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../../src/plugin/tests/keys/rsa.pub");
const SECRET: &str = "a secret of at least sixteen bytes";
const JSON: &str = "Content-Type: application/json\r\n";

/// A route whose plugin has these settings besides what all need.
fn guarded(origin: &Origin, discovery: &str, more: &Value) -> Value {
    let mut config = json!({
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "discovery": discovery,
    });
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let mut route = route("/*", origin.address);
    route["plugins"] = json!({"openid-connect": config});
    route
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

/// Base64 of JSON, as upstreams get it.
fn decoded(seen: &Value, name: &str) -> Value {
    let text = seen["headers"][name].as_str().unwrap();
    serde_json::from_slice(&STANDARD.decode(text).unwrap()).unwrap()
}

fn now() -> i64 {
    jsonwebtoken::get_current_timestamp().try_into().unwrap()
}

/// The challenge for a bad token.
fn invalid(reason: &str) -> String {
    let realm = "Bearer realm=\"apisix\"";
    format!("{realm}, error=\"invalid_token\", error_description=\"{reason}\"")
}

#[tokio::test]
async fn what_cannot_be_run_closes_the_route_and_says_why() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[]).await;
    let session = json!({"secret": SECRET});
    let signing = |algorithm: &str| {
        json!({"session": session, "token_endpoint_auth_method": "private_key_jwt",
            "client_rsa_private_key": RSA_PRIVATE, "client_jwt_assertion_alg": algorithm})
    };
    let other_key = json!({"kty": "OKP", "crv": "Ed25519", "x": "AA"});
    for (settings, reason) in [
        (
            json!({}),
            "`session` is required unless `bearer_only` is true, for example \
             {\"secret\":\"at least sixteen characters\"}",
        ),
        (
            json!({"session": session, "dpop": {"enabled": true, "private_key": RSA_PRIVATE,
                "public_jwk": {}}}),
            "`dpop.private_key` is not a PEM private key for ES256",
        ),
        (
            json!({"session": session, "dpop": {"enabled": true, "private_key": RSA_PRIVATE,
                "signing_alg": "PS256", "public_jwk": other_key}}),
            "`dpop.public_jwk` is not the public key of `dpop.private_key`",
        ),
        (
            json!({"session": session, "token_endpoint_auth_method": "private_key_jwt"}),
            "`client_rsa_private_key` is required for private_key_jwt",
        ),
        (signing("ES256"), "`client_rsa_private_key` is not a PEM private key for ES256"),
        (signing("HS256"), "`client_rsa_private_key` is not a PEM private key for HS256"),
        (
            json!({"session": session, "token_endpoint_auth_method": "client_secret_jwt",
                "client_jwt_assertion_alg": "RS256"}),
            "`client_jwt_assertion_alg`: client_secret_jwt needs HS256 or HS512",
        ),
        (
            json!({"session": session, "token_endpoint_auth_method": "none"}),
            "`token_endpoint_auth_method` must be one of client_secret_basic, client_secret_post, \
             client_secret_jwt, private_key_jwt, for example \"client_secret_basic\"",
        ),
        (
            json!({"session": {"secret": SECRET, "storage": "redis",
                "redis": {"server_name": "redis.example.com"}}}),
            "`session.redis.server_name` must not be given, as `host` is the name that the \
             certificate has to have",
        ),
        (
            json!({"bearer_only": true, "use_jwks": true, "accept_none_alg": true}),
            "`accept_none_alg` must not be true together with `public_key` or `use_jwks`, as anybody \
             could make such a token, for example false",
        ),
        (
            json!({"bearer_only": true, "public_key": "no key"}),
            "`public_key` is not a PEM public key",
        ),
    ] {
        rig.put("routes/1", &guarded(&origin, "http://127.0.0.1:1/", &settings)).await;
        assert_eq!(rig.gateway.fetch("/a").await.0, 503, "{reason}");
        let state = rig.gateway.state().await;
        let told = state["problems"][0]["reason"].as_str().unwrap();
        assert_eq!(told, format!("plugin `openid-connect`: {reason}"));
    }
}
