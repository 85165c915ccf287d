//! response-rewrite: what becomes of heads and bodies.

use bytes::Bytes;
use pingora::http::ResponseHeader;
use serde_json::{Value, json};

use super::{exchange, header, plugin, request};

/// The head and the body of a response that came with these headers and pieces.
fn rewritten(
    config: &Value,
    headers: &[(&'static str, &str)],
    pieces: &[&'static str],
) -> (ResponseHeader, String) {
    let plugin = plugin("response-rewrite", config);
    let (mut exchange, request) = (exchange(), request("/?x=1", &[]));
    let mut head = ResponseHeader::build(200, None).unwrap();
    for (name, value) in headers {
        head.append_header(*name, *value).unwrap();
    }
    plugin.response_headers(&mut exchange, &request, &mut head);
    let mut body = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let mut piece = Some(Bytes::from_static(piece.as_bytes()));
        plugin.response_body(&mut exchange, &mut piece, number + 1 == pieces.len());
        body.extend(piece.unwrap_or_default());
    }
    (head, String::from_utf8(body).unwrap())
}

#[test]
fn headers_are_added_set_and_removed_in_this_order() {
    let config = json!({"headers": {
        "add": ["x-a: 2", "x-gone: 1"], "set": {"x-b": "$arg_x-$status"}, "remove": ["x-gone"]}});
    let (head, _) = rewritten(&config, &[("x-a", "1"), ("x-b", "old")], &[]);
    let all: Vec<_> = head.headers.get_all("x-a").iter().collect();
    assert_eq!(all, ["1", "2"]);
    assert_eq!(header(&head, "x-b"), Some("1-200"));
    assert_eq!(header(&head, "x-gone"), None);
    let (head, _) = rewritten(&json!({"headers": {"x-b": 7}}), &[("x-b", "old")], &[]);
    assert_eq!(header(&head, "x-b"), Some("7"));
}

#[test]
fn what_was_said_about_the_old_body_goes() {
    let about = [
        ("content-encoding", "gzip"),
        ("last-modified", "x"),
        ("etag", "x"),
        ("content-length", "99"),
    ];
    let filters = json!([{"regex": "a", "replace": "b"}]);
    for config in [json!({"body": "new"}), json!({"body": ""}), json!({ "filters": filters })] {
        let (head, _) = rewritten(&config, &about, &[]);
        for (name, old) in about {
            assert_ne!(header(&head, name), Some(old), "{config} {name}");
        }
    }
    let (head, body) = rewritten(&json!({"status_code": 201.0}), &about, &["abc"]);
    assert_eq!((head.status.as_u16(), header(&head, "etag"), &*body), (201, Some("x"), "abc"));
    assert_eq!(rewritten(&json!({"body": ""}), &[], &["abc"]).1, "");
}

#[test]
fn filters_follow_their_scope_options_and_the_largest_size() {
    let filter = |regex: &str, scope: &str, options: &str| {
        json!({"filters": [
            {"regex": regex, "replace": "<$0>", "scope": scope, "options": options}]})
    };
    for (config, expected) in [
        (filter("A", "once", "ijo"), "<a>ba"),
        (filter("A", "global", "ijo"), "<a>b<a>"),
        (filter("A", "global", "jo"), "aba"),
    ] {
        assert_eq!(rewritten(&config, &[], &["a", "ba"]).1, expected, "{config}");
    }
    let mut cut = filter("a", "global", "jo");
    cut["max_resp_body_size"] = json!(2);
    assert_eq!(rewritten(&cut, &[], &["a", "ba"]).1, "<a>b");
}

#[test]
fn a_condition_that_holds_lets_everything_happen() {
    let config = json!({"vars": [["status", "==", 200]], "status_code": 418, "body": "tea"});
    let (head, body) = rewritten(&config, &[], &["abc"]);
    assert_eq!((head.status.as_u16(), &*body), (418, "tea"));
}

#[test]
fn a_coding_nobody_knows_stays_as_it_is() {
    let config = json!({"filters": [{"regex": "a", "replace": "b"}]});
    let (head, body) = rewritten(&config, &[("content-encoding", "zstd")], &["aaa"]);
    assert_eq!((header(&head, "content-encoding"), &*body), (Some("zstd"), "aaa"));
}
