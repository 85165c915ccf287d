//! fault-injection, mocking, api-breaker and workflow: who answers in place of the upstream.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{access, compile, exchange, header, plugin, read, request, response, rewrite};
use crate::{
    exchange::Facts,
    plugin::{Flow, Plugin, Shared},
};

#[test]
fn faults_hit_by_chance_and_condition() {
    let config = |percentage: u8, vars: &Value| {
        json!({"abort": {"http_status": 418, "body": "no $arg_x", "percentage": percentage,
            "vars": vars, "headers": {"x-a": "$arg_x", "x-n": 7}}})
    };
    let ask = |config: &Value| {
        rewrite(&plugin("fault-injection", config), &mut exchange(), &mut request("/?x=tea", &[]))
    };
    let tea = json!([[["arg_x", "==", "milk"]], [["arg_x", "==", "tea"]]]);
    let answer = ask(&config(100, &tea)).unwrap();
    let headers: Vec<_> = answer.headers.iter().map(|(n, v)| (n.as_str(), v.as_bytes())).collect();
    assert_eq!(headers, [("x-a", &b"tea"[..]), ("x-n", b"7")]);
    assert_eq!(read(Some(answer)), (418, "no tea".to_owned()));
    assert!(ask(&config(100, &json!([[["arg_x", "==", "milk"]]]))).is_none());
    assert!((0..50).all(|_| ask(&config(0, &json!([]))).is_none()));
    let half = (0..400).filter(|_| ask(&config(50, &json!([]))).is_some()).count();
    assert!((100..300).contains(&half), "{half}");
    assert_eq!(read(ask(&json!({"abort": {"http_status": 503}}))), (503, "page".to_owned()));
}

#[tokio::test]
async fn a_delay_comes_before_the_answer() {
    let config = json!({"delay": {"duration": 0.001}, "abort": {"http_status": 400}});
    let (mut exchange, mut request) = (exchange(), request("/", &[]));
    let flow = plugin("fault-injection", &config).rewrite(&mut exchange, &mut request);
    let Flow::Wait(wait) = flow else { panic!("it does not wait") };
    let flow = wait.await(&mut exchange, &mut request);
    assert!(matches!(flow, Flow::Answer(answer) if answer.status == 400));
}

#[tokio::test]
async fn delays_hit_by_chance_and_condition() {
    let delays = |delay: Value| {
        let config = json!({ "delay": delay });
        let (mut exchange, mut request) = (exchange(), request("/?x=1", &[]));
        matches!(
            plugin("fault-injection", &config).rewrite(&mut exchange, &mut request),
            Flow::Wait(_)
        )
    };
    assert!(delays(json!({"duration": 9})));
    assert!(!delays(json!({"duration": 9, "percentage": 0})));
    assert!(delays(json!({"duration": 9, "percentage": 1e2})));
    assert!(delays(
        json!({"duration": 9, "vars": [[["arg_x", "==", "0"]], [["arg_x", "==", "1"]]]})
    ));
    assert!(!delays(json!({"duration": 9, "vars": [[["arg_x", "==", "0"]]]})));
}

/// The answer of a mock: status, content type, body.
fn mocked(config: &Value) -> (u16, String, String) {
    let answer =
        access(&plugin("mocking", config), &mut exchange(), &mut request("/?x=1", &[])).unwrap();
    let (head, body) = answer.render().unwrap();
    let kind = head.headers[CONTENT_TYPE].to_str().unwrap().to_owned();
    (head.status.as_u16(), kind, String::from_utf8(body.to_vec()).unwrap())
}

#[test]
fn examples_are_answered_as_they_are() {
    let config = json!({"response_example": "x is $arg_x", "response_status": 201,
        "content_type": "text/plain"});
    assert_eq!(mocked(&config), (201, "text/plain".into(), "x is 1".into()));
    let answer = access(
        &plugin("mocking", &json!({"response_example": "", "response_headers": {"x-a": "$arg_x"}})),
        &mut exchange(),
        &mut request("/?x=1", &[]),
    );
    let (head, _) = answer.unwrap().render().unwrap();
    assert!(head.headers["x-mock-by"].to_str().unwrap().contains('/'));
    assert_eq!(head.headers["x-a"], "1");
    assert_eq!(head.headers[CONTENT_TYPE], "application/json;charset=utf8");
    let unsigned = json!({"response_example": "", "with_mock_header": false});
    let answer = access(&plugin("mocking", &unsigned), &mut exchange(), &mut request("/", &[]));
    assert!(answer.unwrap().headers.iter().all(|(name, _)| name != "x-mock-by"));
}

#[test]
fn schemas_make_something_up() {
    let schema = json!({"type": "object", "properties": {
        "name": {"type": "string"}, "fixed": {"type": "string", "example": "<a&b>"},
        "n": {"type": "number"}, "i": {"type": "integer"}, "b": {"type": "boolean"},
        "yes": {"type": "boolean", "example": true},
        "list": {"type": "array", "items": {"type": "object", "properties": {
            "i": {"type": "integer", "example": 7}}}}}});
    for _ in 0..20 {
        let (status, _, body) = mocked(&json!({"response_schema": schema}));
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(status, 200);
        assert!((1..=10).contains(&value["name"].as_str().unwrap().len()));
        assert!((0.0..=10_000.0).contains(&value["n"].as_f64().unwrap()));
        assert!((1..=10_000).contains(&value["i"].as_i64().unwrap()));
        assert!(value["b"].is_boolean() && value["yes"] == true && value["fixed"] == "<a&b>");
        let list = value["list"].as_array().unwrap();
        assert!((1..=3).contains(&list.len()) && list.iter().all(|entry| entry["i"] == 7));
    }
    let xml = json!({"response_schema": {"type": "object", "properties": {
        "a": {"type": "string", "example": "<a&b>"}}}, "content_type": "text/xml"});
    assert_eq!(mocked(&xml).2, "<data><a>&lt;a&amp;b&gt;</a></data>");
}

/// Tells the plugin that an upstream has answered with this status.
fn upstream_answers(plugin: &Arc<dyn Plugin>, path: &str, status: u16) {
    let (mut exchange, request) = (exchange(), request(path, &[("host", "A.com:80")]));
    exchange.attempts.statuses.push(status);
    plugin.log(&Facts { exchange: &exchange, request: &request, response: None });
}

#[test]
fn a_breaker_opens_after_failures_and_closes_after_successes() {
    let shared: Arc<Shared> = Arc::default();
    let config = json!({"break_response_code": 502, "break_response_body": "broken $arg_x",
        "break_response_headers": [{"key": "x-a", "value": "$host"}],
        "unhealthy": {"http_statuses": [500, 503], "failures": 2},
        "healthy": {"http_statuses": [200], "successes": 2}});
    let breaker = compile("api-breaker", &config, &shared).unwrap();
    let ask =
        |path: &str| access(&breaker, &mut exchange(), &mut request(path, &[("host", "a.com")]));
    for (status, open) in [(500, false), (404, false), (503, true), (200, true), (200, false)] {
        upstream_answers(&breaker, "/a", status);
        assert_eq!(ask("/a?x=1").is_some(), open, "after {status}");
    }
    upstream_answers(&breaker, "/a", 500);
    upstream_answers(&breaker, "/a", 500);
    let answer = ask("/a?x=1").unwrap();
    assert_eq!(answer.headers[0].1, "a.com");
    assert_eq!(read(Some(answer)), (502, "broken 1".to_owned()));
    assert!(ask("/b").is_none(), "another path is another state");
    let other = json!({"break_response_code": 599, "unhealthy": {"failures": 2}});
    let other = compile("api-breaker", &other, &shared).unwrap();
    let answer = access(&other, &mut exchange(), &mut request("/a", &[("host", "a.com")]));
    assert_eq!(read(answer), (599, "page".to_owned()), "routes share what they have seen");
}

#[test]
fn a_breaker_without_a_body_sends_no_headers() {
    let config = json!({"break_response_code": 503.0, "unhealthy": {"failures": 1},
        "break_response_headers": [{"key": "x-a", "value": "1"}]});
    let breaker = plugin("api-breaker", &config);
    upstream_answers(&breaker, "/a", 500);
    let mut request = request("/a", &[("host", "a.com")]);
    let answer = access(&breaker, &mut exchange(), &mut request).unwrap();
    assert!(answer.headers.iter().all(|(name, _)| name != "x-a"));
    assert_eq!(read(Some(answer)), (503, "page".to_owned()));
}

#[test]
fn the_first_rule_that_fits_acts() {
    let flow = plugin(
        "workflow",
        &json!({"rules": [
            {"case": [["uri", "==", "/no"]], "actions": [["return", {"code": 403}]]},
            {"case": [["uri", "~~", "^/l"]],
                "actions": [["limit-count", {"count": 1, "time_window": 60, "rejected_code": 429}]]},
            {"case": [["uri", "==", "/conn"]], "actions": [["limit-conn",
                {"conn": 1, "burst": 0, "default_conn_delay": 1, "key": "remote_addr"}]]},
        ]}),
    );
    let refused = "{\"error_msg\":\"rejected by workflow\"}\n".to_owned();
    let ask = |path: &str| read(access(&flow, &mut exchange(), &mut request(path, &[])));
    assert_eq!(ask("/no"), (403, refused));
    assert_eq!(ask("/other"), (0, String::new()));
    let (mut first, limited) = (exchange(), request("/limited", &[]));
    assert!(access(&flow, &mut first, &mut limited.clone()).is_none());
    let head = response(&flow, &mut first, &limited);
    assert_eq!(header(&head, "x-ratelimit-remaining"), Some("0"));
    assert_eq!(ask("/limited").0, 429);
    let mut under_way = exchange();
    assert!(access(&flow, &mut under_way, &mut request("/conn", &[])).is_none());
    assert_eq!(ask("/conn").0, 503);
    drop(under_way);
    assert_eq!(ask("/conn").0, 0);
}

#[test]
fn the_first_of_several_actions_is_taken_and_a_rule_without_case_fits_all() {
    let flow = plugin(
        "workflow",
        &json!({"rules": [
            {"case": [["uri", "==", "/two"]],
                "actions": [["return", {"code": 403}], ["return", {"code": 404}]]},
            {"actions": [["return", {"code": 410.0}]]},
        ]}),
    );
    for (path, expected) in [("/two", 403), ("/any", 410)] {
        let answer = access(&flow, &mut exchange(), &mut request(path, &[]));
        assert_eq!(read(answer).0, expected, "{path}");
    }
}

#[test]
fn mocks_have_the_kind_they_are_given() {
    let list = json!({"type": "object", "properties": {
        "l": {"type": "array", "example": [1, 2]}, "no": {"type": "boolean", "example": false}}});
    let (_, kind, body) = mocked(&json!({"response_schema": list}));
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(kind.starts_with("application/json") && body["l"] == json!([1, 2]), "{kind} {body}");
    assert!(body["no"].is_boolean());
    let fixed = json!({"properties": {"a": {"type": "integer", "example": 7}}});
    for kind in ["text/plain", "text/html;charset=utf8"] {
        let config = json!({"response_schema": fixed, "content_type": kind});
        assert_eq!(mocked(&config), (200, kind.to_owned(), "{\"a\":7}".to_owned()));
    }
}

#[tokio::test]
async fn a_mock_may_take_its_time() {
    let mock = plugin("mocking", &json!({"response_example": "x", "delay": 3.0}));
    assert!(matches!(mock.access(&mut exchange(), &mut request("/", &[])), Flow::Wait(_)));
}

#[test]
fn a_mock_is_an_object_unless_it_says_otherwise() {
    let schema = |schema| mocked(&json!({ "response_schema": schema })).2;
    let property = json!({"properties": {"a": {"type": "integer", "example": 123}}});
    assert_eq!(schema(property), "{\"a\":123}");
    assert_eq!(schema(json!({"type": "array", "example": [1]})), "[1]");
}

#[test]
fn actions_are_checked() {
    for (action, expected) in [
        (json!(["dance", {}]), "there is no action `dance`"),
        (json!(["return", {}]), "missing field `code`"),
        (json!(["limit-count", {"count": 0, "time_window": 1}]), "`limit-count`: "),
    ] {
        let config = json!({"rules": [{"actions": [action]}]});
        let error = compile("workflow", &config, &Arc::default()).err().unwrap();
        assert!(error.contains(expected), "{error}");
    }
}
