//! What clients get back: cors, request-id, response-rewrite.

use bytes::Bytes;
use serde_json::json;

use super::{exchange, header, options, plugin, read, request, response, rewrite};

#[test]
fn preflights_are_answered_before_anything_else() {
    let plugin = plugin("cors", &json!({}));
    let mut exchange = exchange();
    let mut request = options(&[("origin", "http://a.com")]);
    let answer = rewrite(&plugin, &mut exchange, &mut request);
    assert_eq!(read(answer), (200, String::new()));
    let response = response(&plugin, &mut exchange, &request);
    assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&response, "access-control-allow-methods"), Some("*"));
    assert_eq!(header(&response, "access-control-allow-headers"), Some("*"));
    assert_eq!(header(&response, "access-control-max-age"), Some("5"));
    assert_eq!(header(&response, "access-control-expose-headers"), None);
    assert_eq!(header(&response, "access-control-allow-credentials"), None);
    assert_eq!(header(&response, "vary"), None);
}

#[test]
fn two_stars_echo_what_the_client_said() {
    let config = json!({
        "allow_origins": "**", "allow_methods": "**", "allow_headers": "**",
        "allow_credential": true, "expose_headers": "x-a",
    });
    let plugin = plugin("cors", &config);
    let mut exchange = exchange();
    let mut request =
        request("/", &[("origin", "http://a.com"), ("access-control-request-headers", "x-b")]);
    assert!(rewrite(&plugin, &mut exchange, &mut request).is_none());
    request.remove_header("origin");
    let response = response(&plugin, &mut exchange, &request);
    assert_eq!(header(&response, "access-control-allow-origin"), Some("http://a.com"));
    assert_eq!(
        header(&response, "access-control-allow-methods"),
        Some("GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE")
    );
    assert_eq!(header(&response, "access-control-allow-headers"), Some("x-b"));
    assert_eq!(header(&response, "access-control-allow-credentials"), Some("true"));
    assert_eq!(header(&response, "access-control-expose-headers"), Some("x-a"));
    assert_eq!(header(&response, "vary"), Some("Origin"));
}

#[test]
fn strangers_get_no_cors_headers() {
    let plugin = plugin("cors", &json!({"allow_origins": "http://a.com,http://b.com"}));
    let mut exchange = exchange();
    let mut request = request("/", &[("origin", "http://c.com")]);
    rewrite(&plugin, &mut exchange, &mut request);
    let response = response(&plugin, &mut exchange, &request);
    assert_eq!(header(&response, "access-control-allow-origin"), None);
    assert_eq!(header(&response, "access-control-allow-methods"), None);
    assert_eq!(header(&response, "vary"), Some("Origin"));
}

#[test]
fn a_request_keeps_its_id_or_gets_one() {
    let plugin = plugin("request-id", &json!({}));
    let mut exchange1 = exchange();
    let mut with = request("/", &[("x-request-id", "mine")]);
    rewrite(&plugin, &mut exchange1, &mut with);
    assert_eq!(header(&response(&plugin, &mut exchange1, &with), "x-request-id"), Some("mine"));

    let mut exchange2 = exchange();
    let mut without = request("/", &[("x-request-id", "")]);
    rewrite(&plugin, &mut exchange2, &mut without);
    let made = without.headers["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(made.len(), 36);
    let response = response(&plugin, &mut exchange2, &without);
    assert_eq!(header(&response, "x-request-id"), Some(made.as_str()));
}

#[test]
fn ids_in_two_headers_are_told_apart() {
    let global = plugin("request-id", &json!({}));
    let route = plugin("request-id", &json!({"header_name": "X-Trace", "algorithm": "nanoid"}));
    let mut exchange = exchange();
    let mut request = request("/", &[("x-request-id", "mine")]);
    for plugin in [&global, &route] {
        rewrite(plugin, &mut exchange, &mut request);
    }
    let trace = request.headers["x-trace"].to_str().unwrap().to_owned();
    assert_eq!(trace.len(), 21);
    assert_eq!(header(&response(&global, &mut exchange, &request), "x-request-id"), Some("mine"));
    let told = response(&route, &mut exchange, &request);
    assert_eq!(header(&told, "x-trace"), Some(&*trace));
}

#[test]
fn every_algorithm_of_the_configuration_makes_an_id() {
    for (config, length) in [
        (json!({"algorithm": "uuid"}), 36),
        (json!({"algorithm": "uuidv7"}), 36),
        (json!({"algorithm": "nanoid"}), 21),
        (json!({"algorithm": "ksuid"}), 27),
        (json!({"algorithm": "range_id"}), 16),
        (json!({"algorithm": "range_id", "range_id": {"char_set": "abcdef", "length": 8}}), 8),
    ] {
        let mut request = request("/", &[]);
        rewrite(&plugin("request-id", &config), &mut exchange(), &mut request);
        assert_eq!(request.headers["x-request-id"].len(), length, "{config}");
    }
}

#[test]
fn an_id_of_the_upstream_stays() {
    let plugin = plugin("request-id", &json!({}));
    let (mut exchange, mut request) = (exchange(), request("/", &[]));
    rewrite(&plugin, &mut exchange, &mut request);
    let mut head = pingora::http::ResponseHeader::build(200, None).unwrap();
    head.append_header("x-request-id", "theirs").unwrap();
    plugin.response_headers(&mut exchange, &request, &mut head);
    assert_eq!(header(&head, "x-request-id"), Some("theirs"));
}

#[test]
fn the_id_can_stay_inside() {
    let plugin =
        plugin("request-id", &json!({"include_in_response": false, "header_name": "X-Id"}));
    let mut exchange = exchange();
    let mut request = request("/", &[]);
    rewrite(&plugin, &mut exchange, &mut request);
    assert!(request.headers.contains_key("x-id"));
    assert_eq!(header(&response(&plugin, &mut exchange, &request), "x-id"), None);
}

#[test]
fn status_headers_and_body_are_rewritten() {
    let config = json!({
        "status_code": 201,
        "body": "aGVsbG8=",
        "body_base64": true,
        "headers": {"set": {"X-New": "$request_method"}, "remove": ["X-Old"]},
    });
    let plugin = plugin("response-rewrite", &config);
    let mut exchange = exchange();
    let request = request("/", &[]);
    let mut head = pingora::http::ResponseHeader::build(200, None).unwrap();
    for (name, value) in [("x-old", "1"), ("content-length", "3"), ("etag", "x")] {
        head.append_header(name, value).unwrap();
    }
    plugin.response_headers(&mut exchange, &request, &mut head);
    assert_eq!(head.status, 201);
    assert_eq!(header(&head, "x-new"), Some("GET"));
    for (name, value) in [("x-old", None), ("content-length", Some("5")), ("etag", None)] {
        assert_eq!(header(&head, name), value, "{name}");
    }
    let mut sent = Vec::new();
    for (piece, end) in [(Some("abc"), false), (None, true)] {
        let mut body = piece.map(Bytes::from);
        plugin.response_body(&mut exchange, &mut body, end);
        sent.extend(body.unwrap_or_default());
    }
    assert_eq!(sent, b"hello");
}

#[test]
fn bodies_are_read_only_where_they_change() {
    let reads = |config| plugin("response-rewrite", &config).reads_bodies();
    assert!(reads(json!({"body": ""})) && !reads(json!({"status_code": 201})));
}

#[test]
fn filters_see_the_whole_body() {
    let config =
        json!({"filters": [{"regex": "hello (\\w+)", "replace": "bye $1", "scope": "global"}]});
    let plugin = plugin("response-rewrite", &config);
    let mut exchange = exchange();
    let mut request = request("/", &[("accept-encoding", "gzip")]);
    rewrite(&plugin, &mut exchange, &mut request);
    assert!(request.headers.contains_key("accept-encoding"), "gzip and logs still want to know");
    response(&plugin, &mut exchange, &request);
    let mut sent = Vec::new();
    for (piece, end) in [("hel", false), ("lo a, hello b", false), ("", true)] {
        let mut body = Some(Bytes::from(piece));
        plugin.response_body(&mut exchange, &mut body, end);
        sent.extend(body.unwrap_or_default());
    }
    assert_eq!(String::from_utf8(sent).unwrap(), "bye a, bye b");
}

#[test]
fn a_condition_that_fails_leaves_the_response_alone() {
    let config = json!({"status_code": 500, "body": "x", "vars": [["status", "==", 404]]});
    let plugin = plugin("response-rewrite", &config);
    let mut exchange = exchange();
    let head = response(&plugin, &mut exchange, &request("/", &[]));
    assert_eq!(head.status, 200);
    let mut body = Some(Bytes::from("as it was"));
    plugin.response_body(&mut exchange, &mut body, true);
    assert_eq!(body.unwrap(), "as it was");
}
