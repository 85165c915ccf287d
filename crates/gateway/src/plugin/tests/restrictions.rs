//! Who and what is kept out: by consumer, referer, user agent, URI, and by csrf's token.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{access, compile, exchange, header, plugin, read, request, response, rewrite};
use crate::{consumer::Consumer, plugin::acl::ExternalUser};

/// What a plugin's access phase says to a GET of `/` with these headers.
fn asked(name: &str, config: &Value, headers: &[(&'static str, &str)]) -> (u16, String) {
    read(access(&plugin(name, config), &mut exchange(), &mut request("/", headers)))
}

fn passed() -> (u16, String) {
    (0, String::new())
}

fn told(status: u16, field: &str, message: &str) -> (u16, String) {
    (status, format!("{{\"{field}\":\"{message}\"}}\n"))
}

/// What consumer-restriction says to a consumer.
fn restricted(config: &Value, consumer: Option<&str>, method: Method) -> (u16, String) {
    let mut exchange = exchange();
    exchange.consumer = consumer.map(|name| {
        let group_id = Some("gold".to_owned());
        let labels = [("team".to_owned(), "blue".to_owned())].into();
        Arc::new(Consumer { name: name.into(), group_id, labels, ..Consumer::default() })
    });
    let mut request = request("/", &[]);
    request.set_method(method);
    read(access(&plugin("consumer-restriction", config), &mut exchange, &mut request))
}

#[test]
fn consumers_are_let_in_by_name_and_group() {
    let forbidden = told(403, "message", "The consumer_name is forbidden.");
    let white = json!({"whitelist": ["jack"]});
    assert_eq!(restricted(&white, Some("jack"), Method::GET), passed());
    assert_eq!(restricted(&white, Some("jill"), Method::GET), forbidden);
    let black = json!({"blacklist": ["jack"]});
    assert_eq!(restricted(&black, Some("jack"), Method::GET), forbidden);
    assert_eq!(restricted(&black, Some("jill"), Method::GET), passed());
    let both = json!({"blacklist": ["jack"], "whitelist": ["jack"]});
    assert_eq!(restricted(&both, Some("jack"), Method::GET), forbidden);
    let group = json!({"type": "consumer_group_id", "blacklist": ["gold"], "rejected_code": 451});
    let forbidden = told(451, "message", "The consumer_group_id is forbidden.");
    assert_eq!(restricted(&group, Some("jack"), Method::GET), forbidden);
    let own = json!({"blacklist": ["jack"], "rejected_msg": "no"});
    assert_eq!(restricted(&own, Some("jack"), Method::GET), told(403, "message", "no"));
}

#[test]
fn requests_without_the_subject_are_refused() {
    for subject in ["consumer_name", "consumer_group_id", "service_id", "route_id"] {
        let config = json!({"type": subject, "whitelist": ["x"]});
        let message =
            format!("The request is rejected, please check the {subject} for this request");
        assert_eq!(restricted(&config, None, Method::GET), told(401, "message", &message));
    }
}

#[test]
fn users_may_be_held_to_methods() {
    let methods = json!([{"user": "jack", "methods": ["POST"]}]);
    let config = json!({"allowed_by_methods": methods});
    let forbidden = told(403, "message", "The consumer_name is forbidden.");
    assert_eq!(restricted(&config, Some("jack"), Method::POST), passed());
    assert_eq!(restricted(&config, Some("jack"), Method::GET), forbidden);
    assert_eq!(restricted(&config, Some("jill"), Method::GET), passed());
    let with_list = json!({"allowed_by_methods": methods, "whitelist": ["jill"]});
    assert_eq!(restricted(&with_list, Some("jack"), Method::POST), forbidden);
    assert_eq!(restricted(&with_list, Some("jill"), Method::GET), passed());
    let with_black = json!({"allowed_by_methods": methods, "blacklist": ["jill"]});
    assert_eq!(restricted(&with_black, Some("jill"), Method::POST), forbidden);
    assert_eq!(restricted(&with_black, Some("jack"), Method::POST), passed());
    assert_eq!(restricted(&with_black, Some("jack"), Method::GET), forbidden);
}

#[test]
fn referers_are_judged_by_their_host() {
    let refused = told(403, "message", "Your referer host is not allowed");
    let white = json!({"whitelist": ["xx.com", "*.xx.com"]});
    let ask = |config: &Value, referer: &str| {
        asked("referer-restriction", config, &[("referer", referer)])
    };
    for good in ["http://xx.com/a", "https://xx.com:8080", "http://a.b.xx.com?x", "http://u@XX.com"]
    {
        assert_eq!(ask(&white, good), passed(), "{good}");
    }
    for bad in ["http://yy.com/xx.com", "http://xxx.com", "xx.com", "http://xx.com@yy.com/", ""] {
        assert_eq!(ask(&white, bad), refused, "{bad}");
    }
    let black = json!({"blacklist": ["*"], "message": "no"});
    assert_eq!(ask(&black, "http://xx.com"), told(403, "message", "no"));
    let missing = |config: &Value| asked("referer-restriction", config, &[]);
    assert_eq!(missing(&white), refused);
    assert_eq!(missing(&json!({"whitelist": ["x"], "bypass_missing": true})), passed());
}

#[test]
fn referers_are_read_as_they_are_and_only_if_they_are_urls() {
    let black = json!({"blacklist": ["bad.com"], "bypass_missing": true});
    let white = json!({"whitelist": ["a.com"]});
    let ask = |config: &Value, referer: &str| {
        asked("referer-restriction", config, &[("referer", referer)]).0
    };
    assert_eq!(ask(&black, "http://bad.com/é"), 403);
    assert_eq!(ask(&white, "http://a.com/é"), 0);
    for (referer, expected) in [
        ("x//a.com", 403),
        (":a//a.com", 403),
        ("1http://a.com", 403),
        ("//a.com/x", 0),
        ("android-app://a.com", 0),
    ] {
        assert_eq!(ask(&white, referer), expected, "{referer}");
    }
}

#[test]
fn user_agents_are_searched_for_patterns() {
    let refused = told(403, "message", "Not allowed");
    let ask = |config: &Value, agents: &[&str]| {
        let headers: Vec<_> = agents.iter().map(|agent| ("user-agent", *agent)).collect();
        asked("ua-restriction", config, &headers)
    };
    let allow = json!({"allowlist": ["^curl/8", "(?i)firefox"]});
    assert_eq!(ask(&allow, &[" curl/8.1 "]), passed());
    assert_eq!(ask(&allow, &["a FIREFOX"]), passed());
    assert_eq!(ask(&allow, &["curl/7"]), refused);
    assert_eq!(ask(&allow, &["bad", "curl/8"]), passed());
    let deny = json!({"denylist": ["bot"], "message": "no bots"});
    assert_eq!(ask(&deny, &["my bot"]), told(403, "message", "no bots"));
    assert_eq!(ask(&deny, &["me"]), passed());
    assert_eq!(ask(&deny, &["me", "my bot"]), told(403, "message", "no bots"));
    assert_eq!(ask(&allow, &[]), refused);
    assert_eq!(ask(&json!({"denylist": ["x"], "bypass_missing": true}), &[]), passed());
}

#[test]
fn whoever_says_nothing_is_in_no_list() {
    for (name, list) in [("ua-restriction", "denylist"), ("ua-restriction", "allowlist")] {
        for (bypass, expected) in [(false, 403), (true, 0)] {
            let config = json!({list: ["bot"], "bypass_missing": bypass});
            assert_eq!(asked(name, &config, &[]).0, expected, "{name} {list}");
        }
    }
}

#[test]
fn uris_are_blocked_with_their_query() {
    let ask = |config: &Value, target: &str| {
        read(rewrite(&plugin("uri-blocker", config), &mut exchange(), &mut request(target, &[])))
    };
    let config = json!({"block_rules": ["root.exe", "^/aa", "select.+from"]});
    for (target, status) in [
        ("/x?y=root.exe", 403),
        ("/aabb", 403),
        ("/a/aa", 0),
        ("/?q=select+a+from", 403),
        ("/ROOT.EXE", 0),
    ] {
        assert_eq!(ask(&config, target).0, status, "{target}");
    }
    assert_eq!(ask(&config, "/aa").1, "page");
    let config = json!({"block_rules": ["AA"], "case_insensitive": true, "rejected_msg": "no",
        "rejected_code": 404});
    assert_eq!(ask(&config, "/aa"), told(404, "error_msg", "no"));
}

#[test]
fn a_pattern_that_gives_up_blocks() {
    let config = json!({"block_rules": [r"^/(?:(a+)\1?)+b"]});
    let target = format!("/{}!", "a".repeat(5000));
    let answer =
        rewrite(&plugin("uri-blocker", &config), &mut exchange(), &mut request(&target, &[]));
    assert_eq!(read(answer).0, 403);
}

/// A POST with csrf's header and cookie.
fn posted(config: &Value, token: Option<&str>, cookie: Option<&str>) -> (u16, String) {
    let cookie = cookie.map(|value| format!("a=1; apisix-csrf-token={value}"));
    let headers = [("apisix-csrf-token", token), ("cookie", cookie.as_deref())];
    let headers: Vec<_> =
        headers.iter().filter_map(|(name, value)| Some((*name, (*value)?))).collect();
    let mut request = request("/", &headers);
    request.set_method(Method::POST);
    read(access(&plugin("csrf", config), &mut exchange(), &mut request))
}

#[test]
fn what_changes_something_needs_the_token_of_the_cookie() {
    let config = json!({"key": "secret"});
    let cookie = response(&plugin("csrf", &config), &mut exchange(), &request("/", &[]));
    let cookie = header(&cookie, "set-cookie").unwrap().to_owned();
    let (token, rest) = cookie.strip_prefix("apisix-csrf-token=").unwrap().split_once(';').unwrap();
    assert!(rest.starts_with("path=/;SameSite=Lax;Expires="), "{rest}");
    assert!(rest.ends_with(" GMT"), "{rest}");
    assert_eq!(posted(&config, Some(token), Some(token)), passed());
    let refused = |message| told(401, "error_msg", message);
    assert_eq!(posted(&config, None, Some(token)), refused("no csrf token in headers"));
    assert_eq!(posted(&config, Some(token), None), refused("no csrf cookie"));
    assert_eq!(posted(&config, Some(token), Some(&format!("{token}; name=José"))), passed());
    assert_eq!(posted(&config, Some(token), Some("x")), refused("csrf token mismatch"));
    let unverified = refused("Failed to verify the csrf token signature");
    assert_eq!(posted(&config, Some("x"), Some("x")), unverified);
    assert_eq!(posted(&json!({"key": "other"}), Some(token), Some(token)), unverified);
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        let mut request = request("/", &[]);
        request.set_method(method);
        assert_eq!(read(access(&plugin("csrf", &config), &mut exchange(), &mut request)), passed());
    }
}

#[test]
fn the_token_has_the_name_it_is_given_and_comes_with_refusals_too() {
    let csrf = plugin("csrf", &json!({"key": "secret", "name": "X-Anti", "expires": 0}));
    let mut refused = request("/", &[]);
    refused.set_method(Method::DELETE);
    let mut exchange = exchange();
    let answer = read(access(&csrf, &mut exchange, &mut refused));
    assert_eq!(answer, told(401, "error_msg", "no csrf token in headers"));
    let cookie = response(&csrf, &mut exchange, &refused);
    let cookie = header(&cookie, "set-cookie").unwrap().to_owned();
    let (pair, rest) = cookie.split_once(';').unwrap();
    assert_eq!(rest, "path=/;SameSite=Lax", "good for ever");
    let token = pair.strip_prefix("X-Anti=").unwrap();
    let mut good = request("/", &[("x-anti", token), ("cookie", pair)]);
    good.set_method(Method::DELETE);
    assert_eq!(read(access(&csrf, &mut exchange, &mut good)), passed());
}

#[test]
fn tokens_of_apisix_are_understood_until_they_are_too_old() {
    let token = |made: i64| {
        let sign =
            hex::encode(Sha256::digest(format!("{{expires:{made},random:0.51,key:secret}}")));
        let json = format!("{{\"random\":0.51,\"expires\":{made},\"sign\":\"{sign}\"}}");
        STANDARD.encode(json)
    };
    let now = jiff::Timestamp::now().as_second();
    let ask = |expires: i64, made: i64| {
        let (config, token) = (json!({"key": "secret", "expires": expires}), token(made));
        posted(&config, Some(&token), Some(&token)).0
    };
    assert_eq!(ask(60, now), 0);
    assert_eq!(ask(60, now - 100), 401);
    assert_eq!(ask(0, 1), 0, "for ever");
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    let refused = |name: &str, config: &Value| compile(name, config, &Arc::default()).err();
    assert!(refused("csrf", &json!({"key": "k", "name": "no header"})).is_some());
    assert!(
        refused("uri-blocker", &json!({"block_rules": ["a"], "rejected_code": 1000})).is_some()
    );
}

/// What acl says to a consumer of the blue team, or to somebody only the provider knows.
fn judged(config: &Value, user: Option<Value>) -> (u16, String) {
    let mut exchange = exchange();
    match user {
        Some(user) => {
            exchange.notes.insert(ExternalUser(Arc::new(user)));
        }
        None => {
            let labels = [("team".to_owned(), "blue".to_owned())].into();
            exchange.consumer = Some(Arc::new(Consumer { labels, ..Consumer::default() }));
        }
    }
    read(access(&plugin("acl", config), &mut exchange, &mut request("/", &[])))
}

#[test]
fn consumers_are_let_in_by_their_labels() {
    let forbidden = told(403, "message", "The consumer is forbidden.");
    for (config, admitted) in [
        (json!({"allow_labels": {"team": ["red", "blue"]}}), true),
        (json!({"allow_labels": {"team": ["red"], "other": ["blue"]}}), false),
        (json!({"deny_labels": {"team": ["blue"]}}), false),
        (json!({"deny_labels": {"team": ["red"]}}), true),
        (json!({"deny_labels": {"team": ["blue"]}, "allow_labels": {"team": ["blue"]}}), false),
    ] {
        let expected = if admitted { passed() } else { forbidden.clone() };
        assert_eq!(judged(&config, None), expected, "{config}");
    }
    let own =
        json!({"deny_labels": {"team": ["blue"]}, "rejected_code": 451, "rejected_msg": "no"});
    assert_eq!(judged(&own, None), told(451, "message", "no"));
    let nobody = access(&plugin("acl", &own), &mut exchange(), &mut request("/", &[]));
    assert_eq!(read(nobody).0, 401);
}

#[test]
fn external_users_are_let_in_by_a_field_of_theirs() {
    for (more, user, admitted) in [
        (json!({}), json!({"groups": ["a", "blue"]}), true),
        (json!({}), json!({"groups": "blue"}), true),
        (json!({}), json!({"groups": "red"}), false),
        (json!({}), json!({}), false),
        (
            json!({"external_user_label_field": "$.x.groups"}),
            json!({"x": {"groups": ["blue"]}}),
            true,
        ),
        (
            json!({"external_user_label_field_parser": "segmented_text",
                "external_user_label_field_separator": ","}),
            json!({"groups": "red, blue"}),
            true,
        ),
        (
            json!({"external_user_label_field_parser": "json"}),
            json!({"groups": "[\"blue\"]"}),
            true,
        ),
        (json!({"external_user_label_field_parser": "table"}), json!({"groups": ["blue"]}), true),
        (json!({"external_user_label_field_parser": "table"}), json!({"groups": "blue"}), false),
        (
            json!({"external_user_label_field": "roles", "external_user_label_field_key": "groups"}),
            json!({"roles": ["blue"]}),
            true,
        ),
    ] {
        let mut config = json!({"allow_labels": {"groups": ["blue"]}});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let status = judged(&config, Some(user.clone())).0;
        assert_eq!(status, if admitted { 0 } else { 403 }, "{config} {user}");
    }
    let path = json!({"allow_labels": {"a": ["b"]}, "external_user_label_field": "$..groups[*]"});
    assert!(compile("acl", &path, &Arc::default()).is_err());
}
