//! Tokens that must not be believed, one broken rule each.

use gantry_model::ErrorCode;
use jsonwebtoken::{EncodingKey, encode};
use serde_json::json;

use super::*;

const NOW_S: i64 = 1_800_000_000;

struct Signer {
    key: EncodingKey,
    keys: JwkSet,
}

impl Signer {
    fn new(kid: &str) -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let key = EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap();
        let mut public = Jwk::from_encoding_key(&key, Algorithm::ES256).unwrap();
        public.common.key_id = Some(kid.into());
        Self { key, keys: JwkSet { keys: vec![public] } }
    }

    fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::ES256) };
        encode(&header, claims, &self.key).unwrap()
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example.com", "aud": "gantry", "sub": "alice", "nonce": "n",
        "iat": NOW_S, "exp": NOW_S + 300, "email": "alice@example.com", "email_verified": "true",
        "name": "Alice Example"
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[field] = value;
    claims
}

fn read_now(token: &str, keys: &JwkSet) -> Result<Person> {
    let header = jsonwebtoken::decode_header(token).map_err(|_| refused("is not a token"))?;
    let key = signing_key(keys, &header).ok_or_else(|| refused("has no known key"))?;
    let now = Timestamp::from_seconds(NOW_S);
    let issuer = "https://id.example.com";
    read(token, key, &Expected { issuer, client_id: "gantry", nonce: "n", now })
}

#[test]
fn a_good_token_names_the_person() {
    let signer = Signer::new("a");
    let person = read_now(&signer.sign(&claims()), &signer.keys).unwrap();
    assert_eq!((person.subject.as_str(), person.email_verified), ("alice", true));
    assert_eq!((person.first_name.as_str(), person.last_name.as_str()), ("Alice", "Example"));
    let mut several = with("aud", json!(["gantry", "other"]));
    several["azp"] = json!("gantry");
    read_now(&signer.sign(&several), &signer.keys).unwrap();
}

#[test]
fn every_rule_has_to_hold() {
    let signer = Signer::new("a");
    for (field, value) in [
        ("iss", json!("https://evil.example.com")),
        ("aud", json!("other")),
        ("aud", json!(["gantry", "other"])),
        ("azp", json!("other")),
        ("nonce", json!("other")),
        ("nonce", json!("")),
        ("exp", json!(NOW_S - 61)),
        ("iat", json!(NOW_S + 61)),
        ("nbf", json!(NOW_S + 61)),
    ] {
        let token = signer.sign(&with(field, value.clone()));
        let refused = read_now(&token, &signer.keys).unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unauthorized, "{field}: {value}");
    }
    for field in ["iss", "aud", "sub", "exp", "nonce"] {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(field);
        assert!(read_now(&signer.sign(&claims), &signer.keys).is_err(), "without {field}");
    }
}

#[test]
fn only_the_providers_own_keys_count() {
    let (signer, other) = (Signer::new("a"), Signer::new("a"));
    assert!(read_now(&other.sign(&claims()), &signer.keys).is_err());
    let unknown = Signer::new("b");
    assert!(read_now(&signer.sign(&claims()), &unknown.keys).is_err());
    // A token signed with a secret everybody knows, the public key, and one without a signature.
    let public = serde_json::to_vec(&signer.keys.keys[0]).unwrap();
    let header = Header { kid: Some("a".into()), ..Header::new(Algorithm::HS256) };
    let forged = encode(&header, &claims(), &EncodingKey::from_secret(&public)).unwrap();
    assert!(read_now(&forged, &signer.keys).is_err());
    let none = signer.sign(&claims());
    let (_, rest) = none.split_once('.').unwrap();
    let (body, _) = rest.split_once('.').unwrap();
    assert!(read_now(&format!("eyJhbGciOiJub25lIn0.{body}."), &signer.keys).is_err());
}
