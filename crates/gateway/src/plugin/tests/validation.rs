//! request-validation: what fits and what clients are told that send something else.

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};

use super::{exchange, plugin, read, request, rewrite};

/// What the plugin says, and what of the body goes on.
fn validated(
    config: &Value,
    headers: &[(&'static str, &str)],
    body: &'static str,
) -> (u16, String, Bytes) {
    let mut exchange = exchange();
    exchange.body = Some(Bytes::from_static(body.as_bytes()));
    let mut request = request("/", headers);
    request.set_method(Method::POST);
    let answer = rewrite(&plugin("request-validation", config), &mut exchange, &mut request);
    let (status, text) = read(answer);
    (status, text, exchange.body.unwrap_or_default())
}

#[test]
fn headers_are_texts_by_lower_case_name() {
    let config = json!({"header_schema": {"type": "object", "required": ["x-a"],
        "properties": {"x-a": {"type": "string", "pattern": "^a"}, "x-b": {"type": "array"}}}});
    let ask = |headers: &[(&'static str, &str)]| validated(&config, headers, "").0;
    assert_eq!(ask(&[("x-a", "ab")]), 0);
    assert_eq!(ask(&[("x-a", "b")]), 400);
    assert_eq!(ask(&[]), 400);
    assert_eq!(ask(&[("x-a", "a"), ("x-b", "1")]), 400);
    assert_eq!(ask(&[("x-a", "a"), ("x-b", "1"), ("x-b", "2")]), 0);
}

#[test]
fn bodies_are_json_and_get_defaults() {
    let config = json!({"body_schema": {"type": "object", "required": ["n"],
        "properties": {"n": {"type": "integer"}, "d": {"default": "x"}}}});
    let (status, _, body) = validated(&config, &[], r#"{ "n": 1 }"#);
    assert_eq!((status, &*body), (0, &br#"{"d":"x","n":1}"#[..]));
    let (status, text, _) = validated(&config, &[], r#"{"n": "one"}"#);
    assert_eq!(status, 400);
    assert!(text.starts_with("property \"n\" validation failed: "), "{text}");
    assert_eq!(validated(&config, &[], "{").0, 400);
    let (status, text, _) = validated(&config, &[], "");
    assert_eq!((status, &*text), (400, "page"));
    let kinds = [("content-type", "application/json"), ("content-type", "text/plain")];
    assert_eq!(validated(&config, &kinds, r#"{"n":1}"#).0, 400);
}

#[test]
fn forms_are_texts_and_go_on_as_they_are() {
    let config = json!({"body_schema": {"type": "object", "required": ["a"],
        "properties": {"a": {"type": "string", "maxLength": 3}}}});
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let (status, _, body) = validated(&config, &form, "a=%62+c&x=1");
    assert_eq!((status, &*body), (0, &b"a=%62+c&x=1"[..]));
    assert_eq!(validated(&config, &form, "a=bcde").0, 400);
    assert_eq!(validated(&config, &form, "b=1").0, 400);
}

#[test]
fn the_refusal_is_as_configured() {
    let config = json!({"body_schema": {"type": "object"}, "rejected_code": 422,
        "rejected_msg": "send an object"});
    for body in ["[]", "{", ""] {
        let (status, text, _) = validated(&config, &[], body);
        assert_eq!((status, &*text), (422, "send an object"), "{body}");
    }
}

#[test]
fn refused_headers_are_told_about_as_configured() {
    let schema = json!({"type": "object", "required": ["x-a"]});
    let config = json!({"header_schema": schema, "rejected_code": 403, "rejected_msg": "no x-a"});
    let (status, text, _) = validated(&config, &[], "");
    assert_eq!((status, &*text), (403, "no x-a"));
    let (status, text, _) = validated(&json!({ "header_schema": schema }), &[], "");
    assert!(status == 400 && text.contains("x-a"), "{text}");
}

#[test]
fn larger_bodies_than_allowed_are_refused() {
    let config = json!({"body_schema": {"type": "object"}, "max_req_body_size": 2});
    assert_eq!(validated(&config, &[], "{}").0, 0);
    assert_eq!(validated(&config, &[], "{ }").0, 413);
}
