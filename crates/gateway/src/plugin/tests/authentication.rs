//! key-auth, basic-auth and jwt-auth: who gets in, as whom, and what the others are told.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::header::WWW_AUTHENTICATE;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use pingora::http::RequestHeader;
use serde_json::{Value, json};

use super::{exchange as nobody, plugin, read, request, rewrite};
use crate::{
    consumer::{Consumer, Credential},
    exchange::Exchange,
    plugin::{find, jws::Signer},
    snapshot::Snapshot,
};

/// A private key made for these tests.
const EC_PRIVATE: &str = include_str!("keys/ec.pem");
const EC_PUBLIC: &str = include_str!("keys/ec.pub");
const EC384_PRIVATE: &str = include_str!("keys/ec384.pem");
const EC384_PUBLIC: &str = include_str!("keys/ec384.pub");
const EC521_PRIVATE: &str = include_str!("keys/ec521.pem");
const EC521_PUBLIC: &str = include_str!("keys/ec521.pub");
const ED_PRIVATE: &str = include_str!("keys/ed.pem");
const ED_PUBLIC: &str = include_str!("keys/ed.pub");
const RSA_PRIVATE: &str = include_str!("keys/rsa.pem");
const RSA_PUBLIC: &str = include_str!("keys/rsa.pub");

/// A request to a gateway that knows jack by this configuration, and the consumer anonymous.
pub(super) fn exchange(plugin: &'static str, credential: &Value) -> Exchange {
    let mut config = credential.clone();
    let role = gantry_routing::plugin::Role::Consumer;
    gantry_routing::plugin::check(plugin, &mut config, role).unwrap();
    let identity = find(plugin).unwrap().identify.unwrap()(&config).unwrap();
    let consumer = |name: &str, custom_id: Option<&str>| {
        let (name, custom_id) = (name.to_owned(), custom_id.map(str::to_owned));
        Arc::new(Consumer { name, custom_id, ..Consumer::default() })
    };
    let jack = consumer("jack", Some("7"));
    let mut snapshot = Snapshot::default();
    snapshot.consumers.insert(Arc::clone(&jack));
    snapshot.consumers.insert(consumer("anonymous", None));
    let held = Credential {
        consumer: jack,
        id: Some("c1".to_owned()),
        owner: "/apisix/consumers/jack".into(),
        secret: identity.secret,
    };
    snapshot.consumers.present(plugin, &identity.key, Arc::new(held));
    Exchange::new(Arc::new(snapshot))
}

/// What became of a request: the consumer it is now, or the refusal.
pub(super) fn outcome(
    name: &str,
    config: &Value,
    exchange: &mut Exchange,
    request: &mut RequestHeader,
) -> String {
    let answer = rewrite(&plugin(name, config), exchange, request);
    let challenge = answer.as_ref().and_then(|answer| answer.headers.first());
    if let Some((name, value)) = challenge {
        assert_eq!(name, WWW_AUTHENTICATE);
        let (status, body) = read(answer.clone());
        return format!("{status} {body}{}", value.to_str().unwrap());
    }
    exchange.consumer.as_ref().map_or("nobody", |consumer| &consumer.name).to_owned()
}

pub(super) fn refused(message: &str, challenge: &str) -> String {
    format!("401 {{\"message\":\"{message}\"}}\n{challenge}")
}

fn key_auth(config: &Value, request: &mut RequestHeader) -> (String, Exchange) {
    let mut exchange = exchange("key-auth", &json!({"key": "k1"}));
    (outcome("key-auth", config, &mut exchange, request), exchange)
}

#[test]
fn keys_are_taken_from_header_or_query() {
    let plain = json!({});
    assert_eq!(key_auth(&plain, &mut request("/", &[("apikey", "k1")])).0, "jack");
    assert_eq!(key_auth(&plain, &mut request("/?a=1&apikey=k1", &[])).0, "jack");
    let named = json!({"header": "X-Key", "query": "k"});
    assert_eq!(key_auth(&named, &mut request("/", &[("x-key", "k1")])).0, "jack");
    assert_eq!(key_auth(&named, &mut request("/?k=%6b1", &[])).0, "jack");
    let challenge = "apikey realm=\"key\"";
    let refusal = key_auth(&plain, &mut request("/", &[])).0;
    assert_eq!(refusal, refused("Missing API key in request", challenge));
    let refusal = key_auth(&plain, &mut request("/?apikey=k1", &[("apikey", "K1")])).0;
    assert_eq!(refusal, refused("Invalid API key in request", challenge), "the header comes first");
}

#[test]
fn consumers_are_told_to_the_upstream_and_cannot_be_forged() {
    let mut request = request(
        "/",
        &[("apikey", "k1"), ("x-consumer-username", "root"), ("x-consumer-custom-id", "0")],
    );
    key_auth(&json!({}), &mut request);
    let headers = &request.headers;
    assert_eq!(headers["x-consumer-username"], "jack");
    assert_eq!(headers["x-credential-identifier"], "c1");
    assert_eq!(headers["x-consumer-custom-id"], "7");
    assert_eq!(headers.get_all("x-consumer-username").iter().count(), 1);
}

#[test]
fn credentials_are_hidden_where_they_were_found() {
    let config = json!({"hide_credentials": true});
    let mut by_header = request("/a?apikey=x&b=1", &[("apikey", "k1")]);
    let (_, exchange) = key_auth(&config, &mut by_header);
    assert!(!by_header.headers.contains_key("apikey"));
    assert_eq!(exchange.outgoing.target, None);
    let (_, exchange) = key_auth(&config, &mut request("/a?apikey=k1&b=1", &[]));
    assert_eq!(exchange.outgoing.target.as_deref(), Some("/a?b=1"));
    let kept = json!({});
    let (_, exchange) = key_auth(&kept, &mut request("/a?apikey=k1", &[]));
    assert_eq!(exchange.outgoing.target, None);
}

#[test]
fn the_anonymous_consumer_stands_in() {
    let config = json!({"anonymous_consumer": "anonymous", "hide_credentials": true});
    let mut wrong =
        request("/?apikey=wrong", &[("apikey", "wrong"), ("x-credential-identifier", "x")]);
    let (who, exchange) = key_auth(&config, &mut wrong);
    assert_eq!(who, "anonymous");
    assert!(!wrong.headers.contains_key("apikey"));
    assert!(!wrong.headers.contains_key("x-credential-identifier"));
    assert_eq!(exchange.outgoing.target.as_deref(), Some("/"));
    let nobody = json!({"anonymous_consumer": "nobody", "realm": "r"});
    let refusal = key_auth(&nobody, &mut request("/", &[])).0;
    assert_eq!(refusal, refused("Invalid user authorization", "apikey realm=\"r\""));
}

#[test]
fn basic_auth_compares_user_and_password() {
    let account = json!({"username": "foo", "password": "bar"});
    let ask = |authorization: Option<&str>| {
        let headers: Vec<_> =
            authorization.map(|value| ("authorization", value)).into_iter().collect();
        let mut request = request("/", &headers);
        outcome("basic-auth", &json!({}), &mut exchange("basic-auth", &account), &mut request)
    };
    let basic = |text: &str| format!("basic {}", STANDARD.encode(text));
    let refusal = |message| refused(message, "Basic realm=\"basic\"");
    assert_eq!(ask(Some(&basic("foo:bar"))), "jack");
    assert_eq!(ask(None), refusal("Missing authorization in request"));
    assert_eq!(ask(Some("Basic %")), refusal("Invalid authorization in request"));
    assert_eq!(ask(Some("Bearer Zm9vOmJhcg==")), refusal("Invalid authorization in request"));
    assert_eq!(ask(Some(&basic("foobar"))), refusal("Invalid authorization in request"));
    assert_eq!(ask(Some(&basic("foo:baz"))), refusal("Invalid user authorization"));
    assert_eq!(ask(Some(&basic("who:bar"))), refusal("Invalid user authorization"));
}

#[test]
fn basic_auth_hides_the_header() {
    let account = json!({"username": "foo", "password": "bar"});
    let config = json!({"hide_credentials": true});
    let mut request = request("/", &[("authorization", "Basic Zm9vOmJhcg==")]);
    outcome("basic-auth", &config, &mut exchange("basic-auth", &account), &mut request);
    assert!(!request.headers.contains_key("authorization"));
}

const SECRET: &str = "a secret of some length";

fn token(algorithm: Algorithm, key: &EncodingKey, claims: &Value) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn hs256(claims: &Value) -> String {
    token(Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()), claims)
}

fn jwt_auth(config: &Value, credential: &Value, request: &mut RequestHeader) -> String {
    outcome("jwt-auth", config, &mut exchange("jwt-auth", credential), request)
}

/// Asks with a token in the header.
fn present(config: &Value, credential: &Value, token: &str) -> String {
    jwt_auth(config, credential, &mut request("/", &[("authorization", token)]))
}

fn issuer() -> Value {
    json!({"key": "user", "secret": SECRET})
}

fn unverified(message: &str) -> String {
    refused(message, "Bearer realm=\"jwt\"")
}

#[test]
fn tokens_are_taken_from_header_query_or_cookie() {
    let token = hs256(&json!({"key": "user"}));
    let (bearer, cookie) = (format!("Bearer {token}"), format!("a=1; jwt={token}"));
    let query = format!("/?jwt={token}");
    let ask = |target: &str, headers: &[(&'static str, &str)]| {
        jwt_auth(&json!({}), &issuer(), &mut request(target, headers))
    };
    assert_eq!(ask("/", &[("authorization", &bearer)]), "jack");
    assert_eq!(ask("/", &[("authorization", &token)]), "jack");
    assert_eq!(ask(&query, &[]), "jack");
    assert_eq!(ask("/", &[("cookie", &cookie)]), "jack");
    assert_eq!(ask("/", &[]), unverified("Missing JWT token in request"));
}

#[test]
fn tokens_are_hidden_where_they_were_found() {
    let token = hs256(&json!({"key": "user"}));
    let config = json!({"hide_credentials": true});
    let cookie = format!("a=1; jwt={token}; b=2");
    let mut by_cookie = request("/", &[("cookie", &cookie)]);
    jwt_auth(&config, &issuer(), &mut by_cookie);
    assert_eq!(by_cookie.headers["cookie"], "a=1; b=2");
    let mut by_header = request("/", &[("authorization", &token)]);
    jwt_auth(&config, &issuer(), &mut by_header);
    assert!(!by_header.headers.contains_key("authorization"));
}

#[test]
fn other_cookies_neither_hide_the_token_nor_go_with_it() {
    let token = hs256(&json!({"key": "user"}));
    let cookie = format!("name=José; flag; jwt={token}; b=2");
    let mut request = request("/", &[("cookie", &cookie)]);
    assert_eq!(jwt_auth(&json!({"hide_credentials": true}), &issuer(), &mut request), "jack");
    assert_eq!(request.headers["cookie"].as_bytes(), "name=José; flag; b=2".as_bytes());
}

#[test]
fn names_of_places_and_of_the_claim_can_be_chosen() {
    let token = hs256(&json!({"sub": "user"}));
    let config = json!({"header": "X-Token", "query": "t", "cookie": "c", "key_claim_name": "sub",
        "realm": "r"});
    let (bearer, cookie, query) =
        (format!("bearer {token}"), format!("c={token}"), format!("/?a=1&t={token}"));
    for (target, headers) in [
        ("/", vec![("x-token", &*bearer)]),
        ("/", vec![("x-token", &*token)]),
        ("/", vec![("cookie", &*cookie)]),
        (&*query, vec![]),
    ] {
        assert_eq!(jwt_auth(&config, &issuer(), &mut request(target, &headers)), "jack");
    }
    let refusal = jwt_auth(&config, &issuer(), &mut request("/", &[("authorization", &token)]));
    assert_eq!(refusal, refused("Missing JWT token in request", "Bearer realm=\"r\""));
    let hidden = json!({"query": "t", "hide_credentials": true});
    let mut exchange = exchange("jwt-auth", &issuer());
    let named = hs256(&json!({"key": "user"}));
    let mut by_query = request(&format!("/a?t={named}&b=1"), &[]);
    assert_eq!(outcome("jwt-auth", &hidden, &mut exchange, &mut by_query), "jack");
    assert_eq!(exchange.outgoing.target.as_deref(), Some("/a?b=1"));
}

#[test]
fn the_anonymous_consumer_stands_in_for_tokens_and_passwords() {
    for (name, credential) in
        [("jwt-auth", issuer()), ("basic-auth", json!({"username": "foo", "password": "bar"}))]
    {
        let config = json!({"anonymous_consumer": "anonymous", "hide_credentials": true});
        for headers in [vec![], vec![("authorization", "Basic Zm9vOndyb25n")]] {
            let mut request = request("/", &headers);
            let mut exchange = exchange(name, &credential);
            assert_eq!(outcome(name, &config, &mut exchange, &mut request), "anonymous", "{name}");
            assert!(!request.headers.contains_key("authorization"), "{name}");
            assert_eq!(request.headers["x-consumer-username"], "anonymous");
        }
        let gone = json!({"anonymous_consumer": "gone", "realm": "r"});
        let refusal =
            outcome(name, &gone, &mut exchange(name, &credential), &mut request("/", &[]));
        let scheme = if name == "jwt-auth" { "Bearer" } else { "Basic" };
        let challenge = format!("{scheme} realm=\"r\"");
        assert_eq!(refusal, refused("Invalid user authorization", &challenge));
    }
}

#[test]
fn bad_tokens_are_refused_with_the_reason() {
    let ask = |token: &str| present(&json!({}), &issuer(), token);
    assert_eq!(ask("nonsense"), unverified("JWT token invalid"));
    assert_eq!(ask("a.b.c"), unverified("JWT token invalid"));
    assert_eq!(ask(&hs256(&json!({"sub": "user"}))), unverified("missing user key in JWT token"));
    assert_eq!(ask(&hs256(&json!({"key": "who"}))), unverified("Invalid user key in JWT token"));
    assert_eq!(ask(&hs256(&json!({"key": 7}))), unverified("Invalid user key in JWT token"));
    let forged = token(
        Algorithm::HS256,
        &EncodingKey::from_secret(b"another secret"),
        &json!({"key": "user"}),
    );
    assert_eq!(ask(&forged), unverified("failed to verify jwt"));
    let other = token(
        Algorithm::HS512,
        &EncodingKey::from_secret(SECRET.as_bytes()),
        &json!({"key": "user"}),
    );
    assert_eq!(ask(&other), unverified("failed to verify jwt"), "the consumer chose HS256");
}

#[test]
fn claims_of_time_are_checked() {
    let now = jsonwebtoken::get_current_timestamp();
    let plain = json!({});
    let graceful = json!({"key": "user", "secret": SECRET, "lifetime_grace_period": 60});
    let required = json!({"claims_to_verify": ["exp", "nbf"]});
    let failed = unverified("failed to verify jwt");
    for (config, credential, claims, expected) in [
        (&plain, issuer(), json!({"key": "user", "exp": now + 60, "nbf": now - 60}), "jack"),
        (&plain, issuer(), json!({"key": "user", "exp": now - 10}), &*failed),
        (&plain, graceful.clone(), json!({"key": "user", "exp": now - 10}), "jack"),
        (&plain, issuer(), json!({"key": "user", "nbf": now + 10}), &*failed),
        (&plain, graceful, json!({"key": "user", "nbf": now + 10}), "jack"),
        (&plain, issuer(), json!({"key": "user", "exp": "tomorrow"}), &*failed),
        (&required, issuer(), json!({"key": "user", "exp": now + 60}), &*failed),
        (&required, issuer(), json!({"key": "user", "exp": now + 60, "nbf": 0}), "jack"),
    ] {
        assert_eq!(present(config, &credential, &hs256(&claims)), expected, "{claims}");
    }
}

#[test]
fn every_algorithm_of_the_schema_is_verified() {
    let schema = &gantry_routing::plugin::get("jwt-auth").unwrap().consumer_schema;
    let names = schema.as_ref().unwrap()["properties"]["algorithm"]["enum"].clone();
    let names: Vec<String> = serde_json::from_value(names).unwrap();
    assert_eq!(names.len(), 13);
    for name in names {
        let (private, public) = match &*name {
            "ES256" => (EC_PRIVATE, EC_PUBLIC),
            "ES384" => (EC384_PRIVATE, EC384_PUBLIC),
            "ES512" => (EC521_PRIVATE, EC521_PUBLIC),
            "EdDSA" => (ED_PRIVATE, ED_PUBLIC),
            _ => (RSA_PRIVATE, RSA_PUBLIC),
        };
        let (signer, mut credential) = match Signer::shared(&name, SECRET) {
            Some(signer) => {
                let secret = STANDARD.encode(SECRET);
                (signer, json!({"secret": secret, "base64_secret": true}))
            }
            None => (Signer::private(&name, private).unwrap(), json!({"public_key": public})),
        };
        credential["key"] = json!("user");
        credential["algorithm"] = json!(name);
        let sign = |head: Value, claims: Value| {
            let Value::Object(head) = head else { panic!("a head is an object") };
            signer.sign(head, &claims).unwrap()
        };
        let token = sign(json!({"typ": "JWT"}), json!({"key": "user"}));
        assert_eq!(present(&json!({}), &credential, &token), "jack", "{name}");
        let other = sign(json!({}), json!({"key": "user", "admin": true}));
        let (_, signature) = token.rsplit_once('.').unwrap();
        let (claims, _) = other.rsplit_once('.').unwrap();
        let mixed = format!("{claims}.{signature}");
        let failed = unverified("failed to verify jwt");
        assert_eq!(present(&json!({}), &credential, &mixed), failed, "{name}");
    }
}

/// A token that another program has signed (OpenSSL), to be sure of the form of the signature.
#[test]
fn signatures_of_others_with_p521_are_understood() {
    let credential = json!({"key": "user", "algorithm": "ES512", "public_key": EC521_PUBLIC});
    assert_eq!(present(&json!({}), &credential, include_str!("keys/es512.jwt").trim()), "jack");
}

#[test]
fn a_public_key_is_never_taken_for_a_secret() {
    let credential = json!({"key": "user", "algorithm": "RS256", "public_key": RSA_PUBLIC});
    let forged = token(
        Algorithm::HS256,
        &EncodingKey::from_secret(RSA_PUBLIC.as_bytes()),
        &json!({"key": "user"}),
    );
    assert_eq!(present(&json!({}), &credential, &forged), unverified("failed to verify jwt"));
}

#[test]
fn what_cannot_be_verified_is_refused_when_configured() {
    let identify = find("jwt-auth").unwrap().identify.unwrap();
    let base = json!({"key": "u", "base64_secret": false, "lifetime_grace_period": 0});
    for (algorithm, expected) in [
        ("ES512", "`public_key` is required for ES512"),
        ("HS256", "`secret` is required for HS256, HS384 and HS512"),
        ("RS256", "`public_key` is required for RS256"),
    ] {
        let mut config = base.clone();
        config["algorithm"] = json!(algorithm);
        assert_eq!(identify(&config).err().as_deref(), Some(expected));
    }
    let mut config = base;
    config["algorithm"] = json!("ES512");
    config["public_key"] = json!(EC_PUBLIC);
    let expected = "`public_key` is not a PEM public key for ES512";
    assert_eq!(identify(&config).err().as_deref(), Some(expected), "another curve");
}

#[test]
fn one_of_several_ways_is_enough() {
    let config = json!({"auth_plugins": [{"basic-auth": {}}, {"hmac-auth": {
        "validate_request_body": true}}, {"key-auth": {"header": "x-key"}}]});
    let ask = |headers: &[(&'static str, &str)]| {
        let mut exchange = exchange("key-auth", &json!({"key": "k1"}));
        let mut request = request("/", headers);
        let answer = rewrite(&plugin("multi-auth", &config), &mut exchange, &mut request);
        (read(answer), exchange.consumer.is_some())
    };
    assert_eq!(ask(&[("x-key", "k1")]), ((0, String::new()), true));
    assert_eq!(ask(&[("x-key", "k1"), ("authorization", "Basic x")]).0.0, 0);
    let failed = "{\"message\":\"Authorization Failed\"}\n".to_owned();
    assert_eq!(ask(&[("x-key", "k2")]), ((401, failed.clone()), false));
    assert_eq!(ask(&[]), ((401, failed), false));
}

#[test]
fn only_plugins_that_authenticate_count_as_ways() {
    for (config, reason) in [
        (json!([{"cors": {}}, {"key-auth": {}}]), "`cors`: it does not authenticate consumers"),
        (
            json!([{"key-auth": {}}, {"ldap-auth": {"base_dn": "d", "ldap_uri": "u"}}]),
            "`ldap-auth`: this gateway does not have it",
        ),
        (
            json!([{"key-auth": {"_meta": {"priority": 1}}}, {}]),
            "`key-auth`: `_meta` has no effect here",
        ),
    ] {
        let error = super::compile("multi-auth", &json!({"auth_plugins": config}), &Arc::default());
        assert_eq!(error.err().as_deref(), Some(reason));
    }
}

#[test]
fn a_gateway_without_consumers_lets_nobody_in() {
    let mut request = request("/", &[("apikey", "k1")]);
    let answer = rewrite(&plugin("key-auth", &json!({})), &mut nobody(), &mut request);
    assert_eq!(read(answer).0, 401);
}
