//! Tokens of consumers: what they say, who can verify them, and what stays of them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use gantry_app::{consumer, consumer_jwt};
use gantry_model::ErrorCode;
use gantry_store::audit;
use gantry_testkit::database::Database;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use p521::ecdsa::{Signature, SigningKey, VerifyingKey, signature::Verifier};
use p521::pkcs8::DecodePrivateKey;
use serde_json::{Value, json};

use crate::harness::{Bench, on_both_engines, parse};

/// A private key made for these tests, for the curve P-521.
const P521_PRIVATE: &str = include_str!("../../../gateway/src/plugin/tests/keys/ec521.pem");
const P521_PUBLIC: &str = include_str!("../../../gateway/src/plugin/tests/keys/ec521.pub");

on_both_engines! {
    a_large_curve_signs_too
    tokens_are_verified_with_the_credential
    a_token_is_audited_and_not_stored
}

/// The claims of a token, if `key` verifies it. Time is the bench's own.
fn claims(token: &str, algorithm: Algorithm, key: &DecodingKey) -> Option<Value> {
    let mut rules = Validation::new(algorithm);
    rules.validate_exp = false;
    decode::<Value>(token, key, &rules).ok().map(|read| read.claims)
}

async fn tokens_are_verified_with_the_credential(database: Database) {
    let bench = Bench::new(database).await;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let (private, public) = (pair.serialize_pem(), pair.public_key_pem());
    let secret = "a-secret-of-thirty-two-characters";
    let hmac = DecodingKey::from_secret(secret.as_bytes());
    let ec = DecodingKey::from_ec_pem(public.as_bytes()).unwrap();
    let encoded = "YS1zZWNyZXQtb2YtdGhpcnR5LXR3by1jaGFyYWN0ZXJz";
    for (name, credential, algorithm, key) in [
        ("plain", json!({ "secret": secret }), Algorithm::HS256, &hmac),
        ("long", json!({ "secret": secret, "algorithm": "HS512" }), Algorithm::HS512, &hmac),
        ("coded", json!({ "secret": encoded, "base64_secret": true }), Algorithm::HS256, &hmac),
        (
            "curve",
            json!({ "algorithm": "ES256", "public_key": public, "private_key": private }),
            Algorithm::ES256,
            &ec,
        ),
    ] {
        let mut credential = credential;
        credential["key"] = json!(name);
        let spec = json!({ "name": name, "credentials": { "jwt-auth": credential } });
        let made = consumer::create(&bench.cx, bench.cluster(), parse(spec)).await.unwrap();
        let request = parse(json!({ "ttl": 60, "custom_payload": { "role": "admin" } }));
        let id = made.value.id;
        let issued = consumer_jwt::create(&bench.cx, bench.cluster(), id, request).await.unwrap();
        let read = claims(&issued.value, algorithm, key);
        let expected = json!({ "key": name, "exp": 1_800_000_060, "role": "admin" });
        assert_eq!(read, Some(expected), "{name}");
        let other = DecodingKey::from_secret(b"another secret");
        assert_eq!(claims(&issued.value, Algorithm::HS256, &other), None, "{name}");
    }
    let spec = json!({ "name": "elsewhere", "credentials": { "jwt-auth": {
        "key": "elsewhere", "algorithm": "ES256", "public_key": public } } });
    let made = consumer::create(&bench.cx, bench.cluster(), parse(spec)).await.unwrap();
    let request = parse(json!({}));
    let refused = consumer_jwt::create(&bench.cx, bench.cluster(), made.value.id, request).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(refused.message.contains("private_key"), "{}", refused.message);
}

async fn a_large_curve_signs_too(database: Database) {
    let bench = Bench::new(database).await;
    let with = |name: &str, private: &str| {
        json!({ "name": name, "credentials": { "jwt-auth": { "key": name, "algorithm": "ES512",
            "public_key": P521_PUBLIC, "private_key": private } } })
    };
    let made = consumer::create(&bench.cx, bench.cluster(), parse(with("good", P521_PRIVATE)));
    let (id, request) = (made.await.unwrap().value.id, parse(json!({ "ttl": 60 })));
    let issued = consumer_jwt::create(&bench.cx, bench.cluster(), id, request).await.unwrap();
    let (message, signature) = issued.value.rsplit_once('.').unwrap();
    let signature = Signature::from_slice(&URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
    let secret = p521::SecretKey::from_pkcs8_pem(P521_PRIVATE).unwrap();
    let signing = SigningKey::from_bytes(&secret.to_bytes()).unwrap();
    VerifyingKey::from(&signing).verify(message.as_bytes(), &signature).unwrap();
    let parts: Vec<Value> = message
        .split('.')
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    let claims = json!({ "key": "good", "exp": 1_800_000_060 });
    assert_eq!(parts, [json!({ "typ": "JWT", "alg": "ES512" }), claims]);

    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let spec = parse(with("bad", &other.serialize_pem()));
    let made = consumer::create(&bench.cx, bench.cluster(), spec).await.unwrap();
    let request = parse(json!({}));
    let refused = consumer_jwt::create(&bench.cx, bench.cluster(), made.value.id, request).await;
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("private key for ES512"), "{}", refused.message);
}

async fn a_token_is_audited_and_not_stored(database: Database) {
    let bench = Bench::new(database).await;
    let credential = json!({ "key": "a", "secret": "a-secret-of-thirty-two-characters" });
    let spec = json!({ "name": "alice", "credentials": { "jwt-auth": credential } });
    let made = consumer::create(&bench.cx, bench.cluster(), parse(spec)).await.unwrap();
    let newest = async || {
        let store = bench.store().await;
        let mut tx = store.read().await.unwrap();
        let entries = audit::newest(&mut tx, bench.cluster(), 1000).await.unwrap();
        drop(tx);
        store.close().await;
        entries
    };
    let before = newest().await.len();
    let (id, request) = (made.value.id, parse(json!({})));
    let issued = consumer_jwt::create(&bench.cx, bench.cluster(), id, request).await.unwrap();
    assert_eq!(issued.revision, made.revision, "gateways see nothing of it");
    let entries = newest().await;
    assert_eq!(entries.len(), before + 1);
    let entry = entries.iter().max_by_key(|entry| entry.seq).unwrap();
    assert_eq!((entry.object_kind.as_str(), &entry.object_id), ("consumer", &id.to_string()));
    let mut quiet = bench.cx.clone();
    quiet.dry_run = true;
    let dry = consumer_jwt::create(&quiet, bench.cluster(), id, parse(json!({}))).await.unwrap();
    assert_eq!(dry.value, "******");
    assert_eq!(newest().await.len(), before + 1);
}
