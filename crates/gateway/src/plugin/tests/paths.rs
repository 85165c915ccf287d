//! Where requests go: proxy-rewrite, redirect, real-ip, client-control, ip-restriction.

use http::HeaderValue;
use serde_json::{Value, json};

use super::{access, exchange, plugin, read, request, rewrite};
use crate::exchange::Client;

/// What the upstream is asked after proxy-rewrite.
fn target(config: &Value, asked: &str) -> Option<String> {
    let mut exchange = exchange();
    let mut request = request(asked, &[("x-id", "a?b c"), ("host", "a.com")]);
    assert!(rewrite(&plugin("proxy-rewrite", config), &mut exchange, &mut request).is_none());
    exchange.outgoing.target
}

#[test]
fn a_new_path_keeps_the_clients_query() {
    let uri = json!({"uri": "/new"});
    assert_eq!(target(&uri, "/old").as_deref(), Some("/new"));
    assert_eq!(target(&uri, "/old?a=1").as_deref(), Some("/new?a=1"));
    assert_eq!(target(&json!({"uri": "/new?b=2"}), "/old?a=1").as_deref(), Some("/new?b=2&a=1"));
}

#[test]
fn the_raw_target_has_no_credentials_that_are_hidden() {
    let mut exchange = exchange();
    let mut request = request("/a%2Fb?x=1&apikey=secret", &[]);
    crate::plugin::url::hide_argument(&mut exchange, &request, "apikey");
    let raw = plugin("proxy-rewrite", &json!({"use_real_request_uri_unsafe": true}));
    assert!(rewrite(&raw, &mut exchange, &mut request).is_none());
    assert_eq!(exchange.outgoing.target.as_deref(), Some("/a%2Fb?x=1"));
}

#[test]
fn variables_in_the_path_are_encoded() {
    let config = json!({"uri": "/id/$http_x_id/x"});
    assert_eq!(target(&config, "/").as_deref(), Some("/id/a%3Fb%20c/x"));
}

#[test]
fn the_first_pattern_that_matches_rewrites_the_path() {
    let config = json!({"regex_uri": ["^/a/(.*)", "/b/$1", "^/(.*)", "/c/$1?x=1"]});
    assert_eq!(target(&config, "/a/1?q=2").as_deref(), Some("/b/1?q=2"));
    assert_eq!(target(&config, "/z").as_deref(), Some("/c/z?x=1"));
    let none = json!({"regex_uri": ["^/only$", "/x"]});
    assert_eq!(target(&none, "/other"), None);
}

#[test]
fn a_fixed_path_wins_over_patterns() {
    let config = json!({"uri": "/fixed", "regex_uri": ["^/(.*)", "/c/$1"]});
    assert_eq!(target(&config, "/a").as_deref(), Some("/fixed"));
}

#[test]
fn host_method_and_headers_are_rewritten() {
    let config = json!({
        "host": "up.com",
        "method": "POST",
        "regex_uri": ["^/a/(.*)/(.*)", "/x"],
        "headers": {"add": {"X-Seen": "$1-${2}"}, "set": {"X-Id": "new"}, "remove": ["x-gone"]},
    });
    let mut exchange = exchange();
    let mut request = request("/a/b/c", &[("x-id", "old"), ("x-gone", "1")]);
    rewrite(&plugin("proxy-rewrite", &config), &mut exchange, &mut request);
    assert_eq!(exchange.outgoing.host, Some(HeaderValue::from_static("up.com")));
    assert_eq!(exchange.outgoing.method, Some(http::Method::POST));
    assert_eq!(request.headers["x-id"], "new");
    assert_eq!(request.headers["x-seen"], "b-c");
    assert!(!request.headers.contains_key("x-gone"));
    assert_eq!(request.uri.path(), "/a/b/c", "later plugins see the client's path");
}

/// Status and location of a redirect.
fn location(config: &Value, method: &str, asked: &str) -> (u16, Option<String>) {
    let mut exchange = exchange();
    let mut request = request(asked, &[("host", "a.com")]);
    request.set_method(method.parse().unwrap());
    let answer = rewrite(&plugin("redirect", config), &mut exchange, &mut request);
    let location = answer.as_ref().and_then(|answer| answer.headers.first());
    let text = location.map(|(_, value)| value.to_str().unwrap().to_owned());
    (read(answer).0, text)
}

fn to(status: u16, location: &str) -> (u16, Option<String>) {
    (status, Some(location.to_owned()))
}

#[test]
fn redirects_go_where_the_template_says() {
    let config = json!({"uri": "/new$uri", "append_query_string": true});
    assert_eq!(location(&config, "GET", "/a?b=1"), to(302, "/new/a?b=1"));
    let config = json!({"uri": "/new?x=1", "ret_code": 308, "append_query_string": true});
    assert_eq!(location(&config, "GET", "/a?b=1"), to(308, "/new?x=1&b=1"));
    assert_eq!(
        location(&json!({"uri": "/ü x", "encode_uri": true}), "GET", "/"),
        to(302, "/%C3%BC%20x")
    );
}

#[test]
fn a_pattern_redirects_only_what_it_matches() {
    let config = json!({"regex_uri": ["^/test/(.*)", "http://b.com/$1"], "ret_code": 301});
    assert_eq!(location(&config, "GET", "/test/x"), to(301, "http://b.com/x"));
    assert_eq!(location(&config, "GET", "/other"), (0, None));
}

#[test]
fn plain_http_is_sent_to_https() {
    let config = json!({"http_to_https": true});
    assert_eq!(location(&config, "GET", "/a?b=1"), to(301, "https://a.com/a?b=1"));
    assert_eq!(location(&config, "HEAD", "/a"), to(301, "https://a.com/a"));
    assert_eq!(location(&config, "POST", "/a"), to(308, "https://a.com/a"));
    assert_eq!(location(&json!({"http_to_https": false}), "GET", "/a"), (0, None));
}

#[test]
fn https_is_left_where_it_is() {
    let mut exchange = exchange();
    exchange.connection.tls = true;
    let plugin = plugin("redirect", &json!({"http_to_https": true}));
    assert!(rewrite(&plugin, &mut exchange, &mut request("/", &[])).is_none());
}

#[test]
fn trusted_peers_tell_the_clients_address() {
    let config = json!({"source": "http_x_real_ip", "trusted_addresses": ["127.0.0.0/24"]});
    let plugin = plugin("real-ip", &config);
    for (peer, sent, expected) in [
        ("127.0.0.1:1", "8.8.8.8", "8.8.8.8:1"),
        ("127.0.0.1:1", "8.8.8.8:9", "8.8.8.8:9"),
        ("127.0.0.1:1", "nonsense", "127.0.0.1:1"),
        ("9.9.9.9:1", "8.8.8.8", "9.9.9.9:1"),
    ] {
        let mut exchange = exchange();
        exchange.client = Client::new(peer.parse().unwrap());
        rewrite(&plugin, &mut exchange, &mut request("/", &[("x-real-ip", sent)]));
        assert_eq!(exchange.client.address().to_string(), expected, "{peer} {sent}");
    }
}

#[test]
fn addresses_are_allowed_or_denied() {
    for (config, client, expected) in [
        (json!({"whitelist": ["10.0.0.0/8"]}), "10.1.1.1:1", 0),
        (json!({"whitelist": ["10.0.0.0/8"]}), "11.1.1.1:1", 403),
        (json!({"blacklist": ["10.0.0.0/8"], "response_code": 404}), "10.1.1.1:1", 404),
        (json!({"blacklist": ["10.0.0.0/8"]}), "11.1.1.1:1", 0),
    ] {
        let mut exchange = exchange();
        exchange.client = Client::new(client.parse().unwrap());
        let answer =
            access(&plugin("ip-restriction", &config), &mut exchange, &mut request("/", &[]));
        let (status, body) = read(answer);
        assert_eq!(status, expected, "{config} {client}");
        if status != 0 {
            assert_eq!(body, "{\"message\":\"Your IP address is not allowed\"}\n");
        }
    }
}

#[test]
fn bodies_that_are_too_large_are_refused() {
    let plugin = plugin("client-control", &json!({"max_body_size": 10}));
    for (length, expected) in [("10", 0), ("11", 413)] {
        let mut request = request("/", &[("content-length", length)]);
        assert_eq!(read(rewrite(&plugin, &mut exchange(), &mut request)).0, expected, "{length}");
    }
    let mut exchange = exchange();
    exchange.body = Some("eleven byte".into());
    let early = rewrite(&plugin, &mut exchange, &mut request("/", &[]));
    assert_eq!(read(early).0, 413, "a route may have looked at it");
    exchange.body = None;
    rewrite(&plugin, &mut exchange, &mut request("/", &[]));
    let limit = exchange.notes.get::<crate::plugin::BodyLimit>();
    assert_eq!(limit, Some(&crate::plugin::BodyLimit(10)), "the proxy counts what has no length");
}
