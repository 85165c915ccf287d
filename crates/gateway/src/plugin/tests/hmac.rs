//! hmac-auth: what has to be signed, and what is refused.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use pingora::http::RequestHeader;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{
    authentication::{exchange, outcome, refused},
    plugin, read, request, rewrite,
};

fn signed<M: Mac + KeyInit>(secret: &str, text: &str) -> String {
    let mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap();
    STANDARD.encode(mac.chain_update(text).finalize().into_bytes())
}

fn authorization(algorithm: &str, headers: &str, signature: &str) -> String {
    format!(
        "Signature keyId=\"k\",algorithm=\"{algorithm}\",headers=\"{headers}\",\
         signature=\"{signature}\""
    )
}

fn date(seconds_ago: i64) -> String {
    let then = Timestamp::from_second(Timestamp::now().as_second() - seconds_ago).unwrap();
    then.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A request signed as it should be, some seconds ago.
fn good(seconds_ago: i64) -> RequestHeader {
    let date = date(seconds_ago);
    let text = format!("k\nGET /a?b=1\ndate: {date}\nX-A: yes\n");
    let signature = signed::<Hmac<Sha256>>("s", &text);
    let header = authorization("hmac-sha256", "@request-target date X-A absent", &signature);
    request("/a?b=1", &[("date", &date), ("x-a", "yes"), ("authorization", &header)])
}

fn ask(config: &Value, request: &mut RequestHeader) -> String {
    let credential = json!({"key_id": "k", "secret_key": "s"});
    outcome("hmac-auth", config, &mut exchange("hmac-auth", &credential), request)
}

fn invalid(reason: &str) -> String {
    refused(&format!("client request can't be validated{reason}"), "hmac realm=\"hmac\"")
}

#[test]
fn a_signature_over_target_and_headers_is_a_consumers() {
    let mut request = good(0);
    assert_eq!(ask(&json!({}), &mut request), "jack");
    assert_eq!(request.headers["x-consumer-username"], "jack");
    assert!(request.headers.contains_key("authorization"));
    let mut hidden = good(0);
    ask(&json!({"hide_credentials": true}), &mut hidden);
    assert!(!hidden.headers.contains_key("authorization"));
}

#[test]
fn every_algorithm_is_verified_if_allowed() {
    let date = date(0);
    let text = format!("k\ndate: {date}\n");
    for (algorithm, signature) in [
        ("hmac-sha1", signed::<Hmac<Sha1>>("s", &text)),
        ("hmac-sha256", signed::<Hmac<Sha256>>("s", &text)),
        ("hmac-sha512", signed::<Hmac<Sha512>>("s", &text)),
    ] {
        let header = authorization(algorithm, "date", &signature);
        let mut one = request("/", &[("date", &date), ("authorization", &header)]);
        assert_eq!(ask(&json!({}), &mut one), "jack", "{algorithm}");
        let mut others = vec!["hmac-sha1", "hmac-sha256", "hmac-sha512"];
        others.retain(|name| *name != algorithm);
        let others = json!({"allowed_algorithms": others});
        assert_eq!(ask(&others, &mut one), invalid(""), "{algorithm}");
    }
}

#[test]
fn whatever_differs_from_what_was_signed_is_refused() {
    let meddled = |name: &'static str, value: &str| {
        let mut request = good(0);
        request.insert_header(name, value).unwrap();
        ask(&json!({}), &mut request)
    };
    assert_eq!(meddled("x-a", "no"), invalid(""));
    assert_eq!(meddled("absent", "now there"), invalid(""));
    assert_eq!(meddled("date", &date(7)), invalid(""));
    let mut other = good(0);
    other.set_uri("/a?b=2".try_into().unwrap());
    assert_eq!(ask(&json!({}), &mut other), invalid(""));
    let forged = authorization("hmac-sha256", "date", &signed::<Hmac<Sha256>>("x", "k\n"));
    assert_eq!(meddled("authorization", &forged), invalid(""));
    assert_eq!(meddled("authorization", "Signature nonsense"), invalid(""));
    let unknown = forged.replace("\"k\"", "\"who\"");
    assert_eq!(meddled("authorization", &unknown), invalid(""));
}

#[test]
fn clients_are_told_when_there_is_no_signature() {
    let mut nothing = request("/", &[]);
    assert_eq!(ask(&json!({}), &mut nothing), invalid(": missing Authorization header"));
    let mut basic = request("/", &[("authorization", "Basic x")]);
    let reason = ": Authorization header does not start with 'Signature'";
    assert_eq!(ask(&json!({}), &mut basic), invalid(reason));
    let named = json!({"realm": "r", "anonymous_consumer": "nobody"});
    let refusal = ask(&named, &mut request("/", &[]));
    assert_eq!(refusal, refused("Invalid user authorization", "hmac realm=\"r\""));
    let anonymous = json!({"anonymous_consumer": "anonymous", "hide_credentials": true});
    assert_eq!(ask(&anonymous, &mut basic), "anonymous");
    assert!(!basic.headers.contains_key("authorization"));
}

#[test]
fn clocks_may_differ_a_little() {
    assert_eq!(ask(&json!({"clock_skew": 100}), &mut good(50)), "jack");
    assert_eq!(ask(&json!({"clock_skew": 100}), &mut good(-50)), "jack");
    assert_eq!(ask(&json!({"clock_skew": 100}), &mut good(200)), invalid(""));
    assert_eq!(ask(&json!({"clock_skew": 100}), &mut good(-200)), invalid(""));
    let signature = signed::<Hmac<Sha256>>("s", "k\n");
    let header = authorization("hmac-sha256", "date", &signature);
    let mut dateless = request("/", &[("authorization", &header)]);
    assert_eq!(ask(&json!({}), &mut dateless), invalid(""));
}

#[test]
fn obsolete_dates_and_wrong_weekdays_are_dates_too() {
    let now = Timestamp::now();
    for form in ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y", "Mon, %d %b %Y %H:%M:%S GMT"]
    {
        let date = now.strftime(form).to_string();
        let text = format!("k\ndate: {date}\n");
        let signature = signed::<Hmac<Sha256>>("s", &text);
        let header = authorization("hmac-sha256", "date", &signature);
        let mut request = request("/", &[("date", &date), ("authorization", &header)]);
        assert_eq!(ask(&json!({}), &mut request), "jack", "{date}");
    }
}

#[test]
fn headers_that_must_be_signed_are_compared_literally() {
    assert_eq!(ask(&json!({"signed_headers": ["date", "X-A"]}), &mut good(0)), "jack");
    assert_eq!(ask(&json!({"signed_headers": ["x-a"]}), &mut good(0)), invalid(""));
    assert_eq!(ask(&json!({"signed_headers": ["host"]}), &mut good(0)), invalid(""));
}

#[test]
fn the_digest_is_that_of_the_body() {
    let config = json!({"validate_request_body": true, "max_req_body_size": 5});
    let digest = |body: &str| format!("SHA-256={}", STANDARD.encode(Sha256::digest(body)));
    let ask = |body: &'static str, digest: Option<String>| {
        let mut exchange = exchange("hmac-auth", &json!({"key_id": "k", "secret_key": "s"}));
        exchange.body = Some(Bytes::from_static(body.as_bytes()));
        let mut request = good(0);
        if let Some(digest) = digest {
            request.insert_header("digest", digest).unwrap();
        }
        let answer = rewrite(&plugin("hmac-auth", &config), &mut exchange, &mut request);
        (read(answer), exchange.consumer.is_some())
    };
    let refusal = "{\"message\":\"client request can't be validated\"}\n".to_owned();
    assert_eq!(ask("hello", Some(digest("hello"))), ((0, String::new()), true));
    assert_eq!(ask("hello", Some(digest("hullo"))), ((401, refusal.clone()), false));
    assert_eq!(ask("hello", None), ((401, refusal), false));
    let too_large = "{\"message\":\"the body has more than 5 bytes\"}\n".to_owned();
    assert_eq!(ask("hello!", Some(digest("hello!"))), ((413, too_large), false));
}
