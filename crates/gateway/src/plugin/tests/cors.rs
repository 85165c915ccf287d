//! cors: who is told that they may read, and what else is said.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{exchange, header, plugin, plugin_with, request, response, rewrite};
use crate::plugin::Plugin;

/// A header of the response to a request that comes from `origin`.
fn told(plugin: &Arc<dyn Plugin>, origin: Option<&str>, name: &str) -> Option<String> {
    let mut exchange = exchange();
    let headers: Vec<_> = origin.into_iter().map(|origin| ("origin", origin)).collect();
    let mut request = request("/", &headers);
    rewrite(plugin, &mut exchange, &mut request);
    header(&response(plugin, &mut exchange, &request), name).map(str::to_owned)
}

fn allowed(plugin: &Arc<dyn Plugin>, origin: &str) -> Option<String> {
    told(plugin, Some(origin), "access-control-allow-origin")
}

fn with_lists(config: &Value) -> Arc<dyn Plugin> {
    let lists = json!({"allow_origins": {
        "A": "https://a.com", "B": "https://b.com,https://c.com", "all": "*", "echo": "**"}});
    plugin_with("cors", config, &lists)
}

#[test]
fn lists_of_the_metadata_are_echoed_to_their_members_only() {
    let plugin = with_lists(&json!({"allow_origins_by_metadata": ["A", "B", "gone"]}));
    for origin in ["https://a.com", "https://b.com", "https://c.com"] {
        assert_eq!(allowed(&plugin, origin).as_deref(), Some(origin));
    }
    assert_eq!(allowed(&plugin, "https://evil.com"), None);
    let methods = "access-control-allow-methods";
    assert_eq!(told(&plugin, Some("https://evil.com"), methods), None);
    assert_eq!(told(&plugin, None, methods), None);
    assert_eq!(told(&plugin, None, "vary").as_deref(), Some("Origin"));
    for name in ["all", "echo"] {
        let plugin = with_lists(&json!({"allow_origins_by_metadata": [name]}));
        assert_eq!(allowed(&plugin, "https://x.com").as_deref(), Some("https://x.com"), "{name}");
    }
}

#[test]
fn who_is_in_no_list_is_asked_for_in_the_configuration() {
    let plugin = with_lists(&json!({
        "allow_origins_by_metadata": ["A"], "allow_origins": "https://d.com,https://e.com"}));
    for (origin, expected) in [
        ("https://a.com", Some("https://a.com")),
        ("https://e.com", Some("https://e.com")),
        ("https://b.com", None),
    ] {
        assert_eq!(allowed(&plugin, origin).as_deref(), expected, "{origin}");
    }
    let plugin = with_lists(&json!({
        "allow_origins_by_metadata": ["A"], "allow_origins_by_regex": [r".*\.d\.com$"]}));
    for (origin, expected) in [
        ("https://a.com", Some("https://a.com")),
        ("https://x.d.com", Some("https://x.d.com")),
        ("https://b.com", None),
    ] {
        assert_eq!(allowed(&plugin, origin).as_deref(), expected, "{origin}");
    }
}

#[test]
fn patterns_stand_in_for_allow_origins() {
    let plugin = plugin(
        "cors",
        &json!({"allow_origins": "https://a.com", "allow_origins_by_regex": [r"\.b\.com$"]}),
    );
    assert_eq!(allowed(&plugin, "https://x.b.com").as_deref(), Some("https://x.b.com"));
    assert_eq!(allowed(&plugin, "https://a.com"), None);
}

#[test]
fn a_single_origin_is_told_to_strangers_too() {
    for origin in ["https://a.com", "null"] {
        let plugin = plugin("cors", &json!({"allow_origins": origin, "max_age": -1}));
        assert_eq!(allowed(&plugin, "https://b.com").as_deref(), Some(origin));
        let age = told(&plugin, None, "access-control-max-age");
        assert_eq!(age.as_deref(), Some("-1"));
    }
}

#[test]
fn who_may_see_timings_is_said_apart() {
    let timing = "timing-allow-origin";
    let list = plugin("cors", &json!({"timing_allow_origins": "https://a.com,https://b.com"}));
    let pattern = plugin("cors", &json!({"timing_allow_origins_by_regex": [r"a\.com$"]}));
    for plugin in [list, pattern] {
        assert_eq!(told(&plugin, Some("https://a.com"), timing).as_deref(), Some("https://a.com"));
        assert_eq!(told(&plugin, Some("https://c.com"), timing), None);
    }
}

#[test]
fn what_an_upstream_says_is_written_over_only_by_own_words() {
    let plugin = plugin("cors", &json!({"allow_origins": "https://a.com,https://b.com"}));
    for (origin, expected) in [("https://b.com", "https://b.com"), ("https://c.com", "*")] {
        let mut exchange = exchange();
        let mut request = request("/", &[("origin", origin)]);
        rewrite(&plugin, &mut exchange, &mut request);
        let mut head = pingora::http::ResponseHeader::build(200, None).unwrap();
        head.append_header("access-control-allow-origin", "*").unwrap();
        plugin.response_headers(&mut exchange, &request, &mut head);
        let told: Vec<_> = head.headers.get_all("access-control-allow-origin").iter().collect();
        assert_eq!(told, [expected]);
    }
}

#[test]
fn without_requested_headers_there_are_none_to_echo() {
    let plugin = plugin("cors", &json!({"allow_headers": "**"}));
    assert_eq!(told(&plugin, Some("https://a.com"), "access-control-allow-headers"), None);
}
