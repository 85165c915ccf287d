//! limit-count, limit-req and limit-conn as clients meet them.

use std::sync::Arc;

use gantry_routing::vars::Vars as _;
use serde_json::{Value, json};

use super::{access, compile, exchange, header, plugin, plugin_with, read, request, response};
use crate::{
    exchange::{Client, Exchange},
    plugin::{Flow, Place, Plugin, Shared},
};

/// Status of one request from this address, and its quota headers.
fn ask(plugin: &Arc<dyn Plugin>, client: &str, headers: &[(&'static str, &str)]) -> (u16, String) {
    let mut exchange = exchange();
    exchange.client = Client::new(client.parse().unwrap());
    let mut request = request("/", headers);
    let (status, _) = read(access(plugin, &mut exchange, &mut request));
    let response = response(plugin, &mut exchange, &request);
    let quota = |name| header(&response, name).unwrap_or("-").to_owned();
    (status, format!("{}/{}", quota("x-ratelimit-remaining"), quota("x-ratelimit-limit")))
}

#[test]
fn requests_beyond_the_count_are_refused() {
    let plugin =
        plugin("limit-count", &json!({"count": 2, "time_window": 60, "key": "remote_addr"}));
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[]), (0, "1/2".to_owned()));
    assert_eq!(ask(&plugin, "1.1.1.1:2", &[]), (0, "0/2".to_owned()));
    assert_eq!(ask(&plugin, "1.1.1.1:3", &[]), (503, "0/2".to_owned()));
    assert_eq!(ask(&plugin, "2.2.2.2:1", &[]), (0, "1/2".to_owned()));
}

#[test]
fn refusals_look_as_configured() {
    for (config, expected) in [
        (json!({"count": 1, "time_window": 60}), (503, "page".to_owned())),
        (
            json!({"count": 1, "time_window": 60, "rejected_code": 429, "rejected_msg": "slow"}),
            (429, "{\"error_msg\":\"slow\"}\n".to_owned()),
        ),
    ] {
        let plugin = plugin("limit-count", &config);
        let ask = || access(&plugin, &mut exchange(), &mut request("/", &[]));
        assert!(ask().is_none());
        assert_eq!(read(ask()), expected);
    }
}

#[test]
fn headers_can_be_hidden() {
    let config = json!({"count": 1, "time_window": 60, "show_limit_quota_header": false});
    assert_eq!(ask(&plugin("limit-count", &config), "1.1.1.1:1", &[]).1, "-/-");
}

#[test]
fn keys_are_variables_combinations_or_constants() {
    let config = |key: &str, kind: &str| json!({"count": 1, "time_window": 60, "key": key, "key_type": kind});
    let statuses = |config: &Value| {
        let plugin = plugin("limit-count", config);
        [("1.1.1.1:1", "a"), ("1.1.1.1:1", "b"), ("2.2.2.2:1", "a"), ("2.2.2.2:1", "")]
            .map(|(client, id)| ask(&plugin, client, &[("x-id", id)]).0)
    };
    assert_eq!(statuses(&config("http_x_id", "var")), [0, 0, 503, 0]);
    assert_eq!(statuses(&config("$remote_addr-$http_x_id", "var_combination")), [0, 0, 0, 0]);
    assert_eq!(statuses(&config("all", "constant")), [0, 503, 503, 503]);
    assert_eq!(statuses(&config("http_absent", "var")), [0, 503, 0, 503], "the address stands in");
}

#[test]
fn unchanged_configurations_keep_their_counts() {
    let shared: Arc<Shared> = Arc::default();
    let config = json!({"count": 1, "time_window": 60});
    let first = compile("limit-count", &config, &shared).unwrap();
    assert_eq!(ask(&first, "1.1.1.1:1", &[]).0, 0);
    let again = compile("limit-count", &config, &shared).unwrap();
    assert_eq!(ask(&again, "1.1.1.1:1", &[]).0, 503);
    let other = compile("limit-count", &json!({"count": 1, "time_window": 61}), &shared).unwrap();
    assert_eq!(ask(&other, "1.1.1.1:1", &[]).0, 0);
}

#[test]
fn rules_are_charged_in_order_and_skipped_without_a_key() {
    let config = json!({"rules": [
        {"count": 1, "time_window": 60, "key": "${http_x_id}"},
        {"count": 3, "time_window": 60, "key": "${remote_addr}", "header_prefix": "all"},
    ]});
    let plugin = plugin("limit-count", &config);
    let statuses = ["a", "a", "b"].map(|id| ask(&plugin, "1.1.1.1:1", &[("x-id", id)]).0);
    assert_eq!(statuses, [0, 503, 0]);
    let mut exchange = exchange();
    exchange.client = Client::new("1.1.1.1:1".parse().unwrap());
    let mut request = request("/", &[]);
    assert!(access(&plugin, &mut exchange, &mut request).is_none());
    let response = response(&plugin, &mut exchange, &request);
    assert_eq!(header(&response, "x-all-ratelimit-remaining"), Some("0"));
    assert_eq!(header(&response, "x-1-ratelimit-limit"), None);
}

#[test]
fn numbers_may_come_from_the_request() {
    let config = json!({"count": "${http_x_count}", "time_window": "${http_x_window ?? 60}"});
    let plugin = plugin("limit-count", &config);
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[("x-count", "5")]), (0, "4/5".to_owned()));
    let mut exchange = exchange();
    let answer = access(&plugin, &mut exchange, &mut request("/", &[("x-count", "many")]));
    assert_eq!(read(answer), (500, "{\"error_msg\":\"failed to limit count\"}\n".to_owned()));
    let lenient = json!({"count": "$http_x_count", "time_window": 60, "allow_degradation": true});
    assert_eq!(ask(&super::plugin("limit-count", &lenient), "1.1.1.1:1", &[]).0, 0);
}

#[test]
fn logs_can_say_what_a_limit_has_decided() {
    let plugin = plugin("limit-count", &json!({"count": 2, "time_window": 10, "key": "http_x_id"}));
    let (mut exchange, mut request) = (exchange(), request("/", &[("x-id", "jack")]));
    assert_eq!(exchange.facts(&request).var("rate_limiting_info"), None);
    assert!(access(&plugin, &mut exchange, &mut request).is_none());
    let facts = exchange.facts(&request);
    let text = facts.var("rate_limiting_info").unwrap().text().unwrap().into_owned();
    let (before, after) = text.split_once(":jack").unwrap();
    assert!(before.starts_with("{\"rate_limiting_key\":\"/apisix/routes/1:"), "{text}");
    let rest =
        "\",\"rate_limiting_limit\":2,\"rate_limiting_remaining\":1,\"rate_limiting_reset\":10}";
    assert_eq!(after, rest);
}

#[test]
fn numbers_of_a_rule_that_does_not_apply_need_not_be_numbers() {
    let config = json!({"rules": [
        {"key": "${http_x_tier}", "count": "${http_x_quota}", "time_window": 60},
        {"key": "$remote_addr", "count": 5.0, "time_window": 6e1},
    ]});
    let plugin = plugin("limit-count", &config);
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[]).0, 0);
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[("x-tier", "a")]).0, 500, "now it does");
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[("x-tier", "a"), ("x-quota", "1")]).0, 0);
    assert_eq!(ask(&plugin, "1.1.1.1:1", &[("x-tier", "a"), ("x-quota", "1")]).0, 503);
}

#[test]
fn whole_numbers_may_be_written_as_floats() {
    let config = json!({"count": 1e0, "time_window": 60.0, "rejected_code": 429.0});
    let plugin = plugin("limit-count", &config);
    assert_eq!([(); 2].map(|()| ask(&plugin, "1.1.1.1:1", &[]).0), [0, 429]);
}

#[test]
fn keys_may_be_of_any_letters() {
    let config = json!({"count": 1, "time_window": 60, "key": "http_x_user"});
    let plugin = plugin("limit-count", &config);
    let statuses =
        ["José", "Zoë", "José"].map(|user| ask(&plugin, "1.1.1.1:1", &[("x-user", user)]).0);
    assert_eq!(statuses, [0, 0, 503]);
}

#[test]
fn a_group_counts_its_places_together() {
    let shared: Arc<Shared> = Arc::default();
    let config = json!({"count": 1, "time_window": 60, "group": "g"});
    let at = |owner| {
        let place = Place { owner, metadata: None, shared: &shared };
        super::compile_at("limit-count", &config, &place).unwrap()
    };
    assert_eq!(ask(&at("/apisix/routes/1"), "1.1.1.1:1", &[]).0, 0);
    assert_eq!(ask(&at("/apisix/routes/2"), "1.1.1.1:1", &[]).0, 503);
    assert_eq!(ask(&at("/apisix/routes/2"), "2.2.2.2:1", &[]).0, 0);
}

#[test]
fn names_of_headers_come_from_the_metadata() {
    let config = json!({"rules": [{"count": 7, "time_window": 60, "key": "all-${remote_addr}"}]});
    let metadata = json!({"limit_header": "X-Limit", "remaining_header": "X-Left",
        "reset_header": "X-Again"});
    for (plugin, names) in [
        (plugin("limit-count", &config), ["x-1-ratelimit-limit", "x-1-ratelimit-remaining"]),
        (
            plugin_with("limit-count", &json!({"count": 7, "time_window": 60}), &metadata),
            ["x-limit", "x-left"],
        ),
    ] {
        let mut exchange = exchange();
        let mut request = request("/", &[]);
        assert!(access(&plugin, &mut exchange, &mut request).is_none());
        let response = response(&plugin, &mut exchange, &request);
        assert_eq!(names.map(|name| header(&response, name)), [Some("7"), Some("6")]);
    }
}

#[test]
fn without_any_rule_that_applies_there_is_nothing_to_count() {
    let rules = json!([{"count": 1, "time_window": 60, "key": "${http_x_id}"}]);
    for (lenient, expected) in [(false, 500), (true, 0)] {
        let config = json!({"rules": rules, "allow_degradation": lenient});
        assert_eq!(ask(&plugin("limit-count", &config), "1.1.1.1:1", &[]).0, expected);
    }
}

/// Whether the request was held back; or the status of the refusal.
async fn held(plugin: &Arc<dyn Plugin>, exchange: &mut Exchange) -> Result<bool, u16> {
    let mut request = request("/", &[]);
    let mut flow = plugin.access(exchange, &mut request);
    let mut held = false;
    loop {
        match flow {
            Flow::Next => return Ok(held),
            Flow::Answer(answer) => return Err(answer.status.as_u16()),
            Flow::Wait(wait) => flow = wait.await(exchange, &mut request),
            Flow::Body(_) => panic!("it wants the body"),
        }
        held = true;
    }
}

#[tokio::test]
async fn limit_req_holds_back_the_burst() {
    let limit = plugin("limit-req", &json!({"rate": 10, "burst": 2, "key": "remote_addr"}));
    assert_eq!(held(&limit, &mut exchange()).await, Ok(false));
    assert_eq!(held(&limit, &mut exchange()).await, Ok(true));
}

#[tokio::test]
async fn limit_req_refuses_what_is_more_than_the_burst() {
    // So slow that nothing leaks out while the test runs.
    let config = json!({"rate": 0.001, "burst": 2, "key": "remote_addr", "nodelay": true,
        "rejected_code": 429, "rejected_msg": "slow down"});
    let limit = plugin("limit-req", &config);
    for _ in 0..3 {
        assert_eq!(held(&limit, &mut exchange()).await, Ok(false));
    }
    let answer = access(&limit, &mut exchange(), &mut request("/", &[]));
    assert_eq!(read(answer), (429, "{\"error_msg\":\"slow down\"}\n".to_owned()));
}

#[tokio::test]
async fn limit_req_counts_by_what_the_key_says() {
    for (key, kind, expected) in [
        ("http_x_id", "var", [0, 0, 503, 503]),
        ("$http_x_id-$http_x_b", "var_combination", [0, 0, 503, 0]),
        ("$http_absent", "var_combination", [0, 503, 503, 503]),
        ("http_absent", "var", [0, 503, 503, 503]),
    ] {
        let config = json!({"rate": 0.001, "burst": 0, "key": key, "key_type": kind});
        let plugin = plugin("limit-req", &config);
        let statuses = [("a", "1"), ("b", "1"), ("a", "1"), ("a", "2")].map(|(id, b)| {
            let mut request = request("/", &[("x-id", id), ("x-b", b)]);
            read(access(&plugin, &mut exchange(), &mut request))
        });
        let page = statuses.iter().find(|(status, _)| *status == 503).unwrap();
        assert_eq!(page.1, "page", "without a message");
        assert_eq!(statuses.map(|(status, _)| status), expected, "{key} {kind}");
    }
}

#[tokio::test]
async fn limit_conn_says_what_it_is_told_to_and_counts_by_any_key() {
    let ask = |config: &Value| {
        let plugin = plugin("limit-conn", config);
        let mut first = exchange();
        let mut request = request("/", &[("x-id", "é"), ("x-conn", "1")]);
        assert_eq!(read(access(&plugin, &mut first, &mut request)).0, 0);
        read(access(&plugin, &mut exchange(), &mut request))
    };
    let config = json!({"conn": 1, "burst": 0, "default_conn_delay": 1, "key": "http_x_id"});
    assert_eq!(ask(&config), (503, "page".to_owned()));
    let config = json!({"conn": "$http_x_conn", "burst": "${http_x_burst ?? 0}",
        "default_conn_delay": 1, "key": "$http_x_id-$remote_addr", "key_type": "var_combination",
        "rejected_code": 429, "rejected_msg": "busy"});
    assert_eq!(ask(&config), (429, "{\"error_msg\":\"busy\"}\n".to_owned()));
    for (lenient, expected) in [(false, 500), (true, 0)] {
        let config = json!({"conn": "$http_absent", "burst": 0, "default_conn_delay": 1,
            "key": "remote_addr", "allow_degradation": lenient});
        let answer =
            access(&plugin("limit-conn", &config), &mut exchange(), &mut request("/", &[]));
        assert_eq!(read(answer).0, expected);
    }
}

#[tokio::test]
async fn limit_conn_counts_requests_until_they_end() {
    let config = json!({"conn": 2, "burst": 2, "default_conn_delay": 0.001, "key": "remote_addr",
        "rejected_code": 429});
    let limit = plugin("limit-conn", &config);
    let mut under_way: Vec<Exchange> = Vec::new();
    for expected in [Ok(false), Ok(false), Ok(true), Ok(true), Err(429)] {
        let mut exchange = exchange();
        assert_eq!(held(&limit, &mut exchange).await, expected);
        under_way.push(exchange);
    }
    let mut elsewhere = exchange();
    elsewhere.client = Client::new("2.2.2.2:1".parse().unwrap());
    assert_eq!(held(&limit, &mut elsewhere).await, Ok(false), "others are counted apart");
    under_way.clear();
    assert_eq!(held(&limit, &mut exchange()).await, Ok(false), "whoever has ended counts no more");
}

#[tokio::test]
async fn limit_conn_takes_the_places_of_all_rules_or_none() {
    let limit = plugin(
        "limit-conn",
        &json!({"default_conn_delay": 1, "rules": [
            {"conn": "$http_absent", "burst": 0, "key": "$remote_addr"},
            {"conn": 1, "burst": 1, "key": "all"},
            {"conn": 3, "burst": 0, "key": "${remote_addr}"},
            {"conn": 1, "burst": 0, "key": "${http_absent ?? none}"},
        ]}),
    );
    let mut first = exchange();
    assert_eq!(held(&limit, &mut first).await, Ok(false));
    for _ in 0..5 {
        assert_eq!(held(&limit, &mut exchange()).await, Err(503), "a refusal keeps no place");
    }
    drop(first);
    assert_eq!(held(&limit, &mut exchange()).await, Ok(false));
    let nothing = json!({"default_conn_delay": 1, "rules": [
        {"conn": 1, "burst": 0, "key": "$http_absent"}]});
    assert_eq!(held(&plugin("limit-conn", &nothing), &mut exchange()).await, Err(500));
}
