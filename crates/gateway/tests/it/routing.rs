//! Which route a request gets, and what the upstream sees of it.

use gantry_gateway::ClientOptions;
use gantry_testkit::Origin;
use serde_json::json;

use crate::harness::{Rig, route};

#[tokio::test]
async fn a_route_leads_to_its_origin() {
    let origin = Origin::start("one").await;
    let rig = Rig::start(&[("routes/1", route("/a/*", origin.address))]).await;
    let seen = rig.gateway.echo("/a/b?c=d").await;
    assert_eq!(seen["path"], "/a/b");
    assert_eq!(seen["query"], "c=d");
    assert_eq!(seen["headers"]["host"], "localhost");
    assert_eq!(seen["headers"]["x-real-ip"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-for"], "127.0.0.1");
    assert_eq!(seen["headers"]["x-forwarded-proto"], "http");
    assert_eq!(seen["headers"]["x-forwarded-host"], "localhost");
    let port = rig.gateway.bound.http.unwrap().port().to_string();
    assert_eq!(seen["headers"]["x-forwarded-port"], port);
}

#[tokio::test]
async fn without_a_route_the_answer_is_that_of_apisix() {
    let rig = Rig::start(&[]).await;
    let response = rig.gateway.get("a.com", "/").await;
    assert_eq!(response.status(), 404);
    assert!(response.headers()["server"].to_str().unwrap().starts_with("Gantry/"));
    assert_eq!(response.text().await.unwrap(), "{\"error_msg\":\"404 Route Not Found\"}\n");
}

#[tokio::test]
async fn hosts_methods_variables_and_priority_decide() {
    let (one, two, three, four) = (
        Origin::start("one").await,
        Origin::start("two").await,
        Origin::start("three").await,
        Origin::start("four").await,
    );
    let mut by_host = route("/*", one.address);
    by_host["hosts"] = json!(["*.foo.com"]);
    let mut by_method = route("/m", two.address);
    by_method["methods"] = json!(["POST"]);
    let mut by_variable = route("/v", three.address);
    by_variable["vars"] = json!([["arg_user", "==", "jack"], ["http_x_tier", "~~", "^gold"]]);
    by_variable["priority"] = json!(5);
    let rig = Rig::start(&[
        ("routes/1", by_host),
        ("routes/2", by_method),
        ("routes/3", by_variable),
        ("routes/4", route("/v", four.address)),
    ])
    .await;
    let gateway = &rig.gateway;
    let name = async |request: reqwest::RequestBuilder| {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: serde_json::Value = response.json().await.unwrap_or_default();
        body["name"].as_str().map_or(status.to_string(), str::to_owned)
    };
    let client = &gateway.client;
    assert_eq!(name(client.get(gateway.url("/x")).header("Host", "A.foo.com:80")).await, "one");
    assert_eq!(name(client.get(gateway.url("/x")).header("Host", "foo.com")).await, "404");
    assert_eq!(name(client.post(gateway.url("/m"))).await, "two");
    assert_eq!(name(client.get(gateway.url("/m"))).await, "404");
    let gold = client.get(gateway.url("/v?user=jack")).header("X-Tier", "golden");
    assert_eq!(name(gold).await, "three");
    assert_eq!(name(client.get(gateway.url("/v?user=jack"))).await, "four");
    assert_eq!(name(client.get(gateway.url("/%76"))).await, "four");
}

#[tokio::test]
async fn bodies_decide_where_a_route_looks_at_them() {
    let origins = [Origin::start("plain").await, Origin::start("form").await];
    let [json_origin, graph] = [Origin::start("json").await, Origin::start("graph").await];
    let [path, parts] = [Origin::start("path").await, Origin::start("parts").await];
    let with = |origin: &Origin, vars: serde_json::Value| {
        let mut route = route("/*", origin.address);
        route["vars"] = vars;
        route["priority"] = json!(1);
        route
    };
    let rig = Rig::start(&[
        ("routes/1", route("/*", origins[0].address)),
        ("routes/2", with(&origins[1], json!([["post_arg_user", "==", "j k"]]))),
        ("routes/3", with(&json_origin, json!([["post_arg.user.age", ">", 20]]))),
        ("routes/5", with(&path, json!([["post_arg.messages[*].role", "has", "tool"]]))),
        ("routes/6", with(&parts, json!([["post_arg.kind", "==", "report"]]))),
        (
            "routes/4",
            with(
                &graph,
                json!([
                    ["graphql_operation", "==", "mutation"],
                    ["graphql_name", "==", "Add"],
                    ["graphql_root_fields", "has", "user"]
                ]),
            ),
        ),
    ])
    .await;
    let ask = async |kind: &str, body: &str| {
        let request = rig.gateway.client.post(rig.gateway.url("/")).header("Content-Type", kind);
        let response = request.body(body.to_owned()).send().await.unwrap();
        let seen: serde_json::Value = response.json().await.unwrap();
        assert_eq!(seen["body_bytes"], body.len(), "the upstream gets the body all the same");
        seen["name"].as_str().unwrap().to_owned()
    };
    let (form, document) = ("application/x-www-form-urlencoded", "application/json; charset=utf-8");
    assert_eq!(ask(form, "a=1&user=j+k").await, "form");
    assert_eq!(ask(form, "user=x").await, "plain");
    assert_eq!(ask("text/plain", "user=j+k").await, "plain");
    assert_eq!(ask(document, r#"{"user": {"age": 21}}"#).await, "json");
    assert_eq!(ask(document, r#"{"user": {"age": 20}}"#).await, "plain");
    assert_eq!(ask(document, "{").await, "plain");
    let messages = |role: &str| json!({"messages": [{"role": "user"}, {"role": role}]}).to_string();
    assert_eq!(ask(document, &messages("tool")).await, "path");
    assert_eq!(ask(document, &messages("user")).await, "plain");
    let multipart = |kind: &str| {
        format!(
            "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nkind\r\n\
            --x\r\nContent-Disposition: form-data; name=\"kind\"\r\n\r\n{kind}\r\n--x--\r\n"
        )
    };
    assert_eq!(ask("multipart/form-data; boundary=x", &multipart("report")).await, "parts");
    assert_eq!(ask("multipart/form-data; boundary=x", &multipart("other")).await, "plain");
    assert_eq!(ask(form, "kind=report").await, "parts");
    assert_eq!(ask("application/graphql", "mutation Add { me: user }").await, "graph");
    assert_eq!(ask(document, r#"{"query": "mutation Add { user }"}"#).await, "graph");
    assert_eq!(rig.gateway.echo("/").await["name"], "plain", "without a body");
}

#[tokio::test]
async fn services_lend_routes_what_they_lack() {
    let origin = Origin::start("one").await;
    let upstream = json!({"nodes": {origin.address.to_string(): 1}});
    let rig = Rig::start(&[
        ("routes/1", json!({"uri": "/a", "service_id": "s"})),
        ("services/s", json!({"hosts": ["a.com"], "upstream_id": "u"})),
        ("upstreams/u", upstream.clone()),
        ("routes/2", json!({"uri": "/b", "service_id": "missing"})),
        ("routes/3", json!({"uri": "/c", "upstream_id": "missing"})),
        ("routes/4", json!({"uri": "/d", "plugin_config_id": "missing", "upstream": upstream})),
        ("routes/5", json!({"uri": "/e", "plugins": {}})),
    ])
    .await;
    let gateway = &rig.gateway;
    assert_eq!(gateway.get("a.com", "/a").await.status(), 200);
    assert_eq!(gateway.get("b.com", "/a").await.status(), 404);
    for (path, status) in [("/b", 404), ("/c", 502), ("/d", 503), ("/e", 503)] {
        assert_eq!(gateway.fetch(path).await.0, status, "{path}");
    }
    rig.put("services/s", &json!({"upstream_id": "u"})).await;
    assert_eq!(gateway.get("b.com", "/a").await.status(), 200);
}

#[tokio::test]
async fn redirects_to_https_name_the_port_of_the_https_listener() {
    let redirect = json!({"uri": "/*", "plugins": {"redirect": {"http_to_https": true}}});
    let rig = Rig::start(&[("routes/1", redirect)]).await;
    let response = rig.gateway.get("a.com", "/a?b=c").await;
    assert_eq!(response.status(), 301);
    let port = rig.gateway.bound.https.unwrap().port();
    assert_eq!(response.headers()["location"], format!("https://a.com:{port}/a?b=c"));
}

#[tokio::test]
async fn a_load_balancer_that_ends_tls_is_not_sent_to_https_again() {
    let origin = Origin::start("one").await;
    let mut guarded = route("/*", origin.address);
    guarded["plugins"] = json!({"redirect": {"http_to_https": true}});
    let options = ClientOptions {
        trusted_addresses: Some(vec!["127.0.0.1".to_owned()]),
        https_port: Some(443),
        ..ClientOptions::default()
    };
    let rig = Rig::start_with(&[("routes/1", guarded)], options).await;
    let ask = async |scheme: &str| {
        let request = rig.gateway.client.get(rig.gateway.url("/a")).header("Host", "a.com");
        request.header("X-Forwarded-Proto", scheme).send().await.unwrap()
    };
    assert_eq!(ask("https").await.status(), 200);
    let plain = ask("http").await;
    assert_eq!(
        (plain.status().as_u16(), plain.headers()["location"].to_str().unwrap()),
        (301, "https://a.com/a")
    );
}

/// A plugin that is not in the list does not run. APISIX would leave a route open whose
/// authentication is skipped; here it is closed.
#[tokio::test]
async fn the_list_of_plugins_says_which_run_and_opens_no_route() {
    let origin = Origin::start("one").await;
    let with = |uri: &str, plugins: serde_json::Value| {
        let mut route = route(uri, origin.address);
        route["plugins"] = plugins;
        route
    };
    let marking = json!({"response-rewrite": {"headers": {"set": {"X-Marked": "1"}}}});
    let rig = Rig::start(&[
        ("routes/1", with("/guarded", json!({"key-auth": {}}))),
        ("routes/2", with("/marked", marking)),
    ])
    .await;
    let seen = async || {
        let guarded = rig.gateway.fetch("/guarded").await.0;
        let marked = rig.gateway.get("a.com", "/marked").await;
        (guarded, marked.headers().contains_key("x-marked"))
    };
    assert_eq!(seen().await, (401, true));
    rig.put("plugins", &json!([{"name": "cors"}, {"name": "response-rewrite"}])).await;
    assert_eq!(seen().await, (503, true));
    rig.put("plugins", &json!([{"name": "key-auth"}])).await;
    assert_eq!(seen().await, (401, false));
    let keys = |state: serde_json::Value| -> Vec<String> {
        let problems = state["problems"].as_array().unwrap().iter();
        problems.map(|problem| problem["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(rig.gateway.state().await), ["/apisix/routes/2"]);
    rig.put("plugins", &json!("all")).await;
    assert_eq!(seen().await, (401, false), "the one before stays");
    assert_eq!(keys(rig.gateway.state().await), ["/apisix/plugins", "/apisix/routes/2"]);
    let revision = rig.etcd.delete("plugins");
    rig.gateway.applied(revision).await;
    assert_eq!(seen().await, (401, true));
    assert!(keys(rig.gateway.state().await).is_empty());
}
