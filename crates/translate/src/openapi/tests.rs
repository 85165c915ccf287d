//! Documents as people write them, broken ones, and random ones.

use gantry_model::config::PathType;
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::*;
use crate::{Surroundings, check_api, check_application};

const PETS: &str = r##"
openapi: 3.0.3
info: {title: Pet store, description: Sells pets., version: "1"}
tags: [{name: pets}, {name: "big ones"}]
servers:
  - url: https://{region}.example.com:8443/{version}/
    variables:
      region: {default: EU}
      version: {default: v1, enum: [v1, v2]}
paths:
  /pets:
    get: {operationId: listPets, summary: Lists pets, tags: [pets], responses: {200: {description: ok}}}
    post: {responses: {}}
  /pets/{id}:
    $ref: "#/x-items/pet"
x-items:
  pet:
    parameters: [{name: id, in: path, required: true, schema: {type: string}}]
    get: {operationId: getPet}
"##;

fn fields(text: &str) -> Vec<String> {
    let broken = read(text).expect_err("a refusal");
    broken.into_iter().map(|violation| violation.field).collect()
}

fn minimal(more: &Value) -> String {
    let mut document = json!({
        "openapi": "3.1.0", "info": { "title": "a", "version": "1" },
        "servers": [{ "url": "http://a.example.com" }], "paths": {}
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document.to_string()
}

#[test]
fn a_document_becomes_a_draft_with_one_api_for_each_operation() {
    let import = read(PETS).unwrap();
    let application = serde_json::to_value(&import.application).unwrap();
    assert_eq!(
        application,
        json!({
            "name": "Pet store", "description": "Sells pets.", "active": 1,
            "hosts": ["eu.example.com"], "path_prefix": "/v1", "protocols": ["HTTPS"],
            "labels": ["pets", "big-ones"], "plugins": {}, "default_upstream_version": "default",
            "upstreams": [{ "version": "default", "upstream": { "scheme": "https",
                "lb_type": "roundrobin",
                "targets": [{ "host": "eu.example.com", "port": 8443, "weight": 100 }] } }],
        })
    );
    let shown = import.apis.iter().map(|api| {
        let ApiSpec { name, methods, paths, fine_grained_route_control, .. } = &api.spec;
        let control = fine_grained_route_control.as_ref();
        let regex = control.map(|control| control.expressions[0].value.as_str());
        (&*api.operation, &**name, &*methods[0], &*paths[0].path, paths[0].path_type, regex)
    });
    assert_eq!(
        shown.collect::<Vec<_>>(),
        [
            ("GET /pets", "listPets", "GET", "/pets", PathType::Exact, None),
            ("POST /pets", "POST /pets", "POST", "/pets", PathType::Exact, None),
            (
                "GET /pets/{id}",
                "getPet",
                "GET",
                "/pets/",
                PathType::Prefix,
                Some("^/v1/pets/[^/]+$")
            ),
        ]
    );
    assert_eq!(import.apis[0].spec.description, "Lists pets");
    assert_eq!(import.apis[0].spec.labels, ["pets"]);
    assert_eq!(import.notes, Vec::<String>::new());
}

#[test]
fn extensions_say_what_servers_do_not() {
    let upstream =
        json!({ "scheme": "http", "targets": [{ "host": "10.0.0.1", "port": 80, "weight": 1 }] });
    let relative = json!({ "servers": [{ "url": "/api/" }], "x-api7-hosts": ["A.example.com"],
                           "x-api7-upstream": upstream });
    let application = read(&minimal(&relative)).unwrap().application;
    assert_eq!(
        (&*application.hosts, &*application.path_prefix),
        (&["a.example.com".to_owned()][..], "/api")
    );
    assert_eq!(application.protocols, []);
    assert_eq!(application.upstreams[0].upstream.targets[0].host, "10.0.0.1");
    let beside = read(&minimal(&json!({ "x-api7-hosts": ["*.example.com"] }))).unwrap().application;
    assert_eq!(beside.hosts, ["*.example.com"]);
    assert_eq!(beside.upstreams[0].upstream.targets[0].host, "a.example.com");
}

#[test]
fn what_is_not_read_is_said() {
    let more = json!({ "security": [], "paths": { "/a": { "get": { "servers": [] } } } });
    assert_eq!(read(&minimal(&more)).unwrap().notes.len(), 2);
}

#[test]
fn refusals_say_where() {
    let path = |template: &str| minimal(&json!({ "paths": { template: { "get": {} } } }));
    let server = |url: &str| minimal(&json!({ "servers": [{ "url": url }] }));
    for (text, field) in [
        ("", "openapi"),
        ("- a\n", "openapi"),
        ("a: [", "openapi"),
        ("{\"a\":", "openapi"),
        ("swagger: '2.0'\n", "openapi.swagger"),
        ("openapi: 3.2.0\n", "openapi.openapi"),
        ("info: {title: a}\n", "openapi.openapi"),
        (&minimal(&json!({ "info": { "title": " " } })), "openapi.info.title"),
        (&minimal(&json!({ "servers": [] })), "openapi.servers[0].url"),
        (&server("/v1"), "openapi.servers[0].url"),
        (&server("ftp://a.example.com"), "openapi.servers[0].url"),
        (&server("http://a b"), "openapi.servers[0].url"),
        (&server("http://a.example.com:99999"), "openapi.servers[0].url"),
        (&server("http://user:secret@a.example.com"), "openapi.servers[0].url"),
        (&server("http://a.example.com/{v}"), "openapi.servers[0].variables.v.default"),
        (&server("http://a.example.com/{v"), "openapi.servers[0].url"),
        (&minimal(&json!({ "x-api7-hosts": [] })), "openapi.x-api7-hosts"),
        (&minimal(&json!({ "x-api7-hosts": ["a:80"] })), "openapi.x-api7-hosts[0]"),
        (&minimal(&json!({ "x-api7-upstream": {} })), "openapi.x-api7-upstream"),
        (&minimal(&json!({ "paths": [] })), "openapi.paths"),
        (&path("pets"), "openapi.paths.pets"),
        (&path("/a{b"), "openapi.paths./a{b"),
        (&path("/a}"), "openapi.paths./a}"),
        (&path("/a?b=1"), "openapi.paths./a?b=1"),
        (&path("/%zz"), "openapi.paths./%zz"),
        (&minimal(&json!({ "paths": { "/a": 1 } })), "openapi.paths./a"),
        (&minimal(&json!({ "paths": { "/a": { "get": [] } } })), "openapi.paths./a.get"),
        (&minimal(&json!({ "paths": { "/a": { "$ref": "b.yaml" } } })), "openapi.paths./a.$ref"),
    ] {
        assert_eq!(fields(text), [field], "{text}");
    }
    assert_eq!(fields(&"x".repeat(DOCUMENT_BYTES_MAX + 1)), ["openapi"]);
    let paths: serde_json::Map<String, Value> =
        (0..=OPERATIONS_MAX).map(|number| (format!("/{number}"), json!({ "get": {} }))).collect();
    assert_eq!(fields(&minimal(&json!({ "paths": paths }))), ["openapi.paths"]);
}

#[test]
fn all_that_is_wrong_is_named_at_once() {
    let more = json!({ "info": {}, "servers": [{ "url": "x://" }], "paths": { "a": {}, "b": {} } });
    let expected =
        ["openapi.info.title", "openapi.servers[0].url", "openapi.paths.a", "openapi.paths.b"];
    assert_eq!(fields(&minimal(&more)), expected);
}

/// A document that is valid by the rules of OpenAPI and ours.
fn document() -> impl Strategy<Value = Value> {
    let text = || "[ -~äß中\n]{0,90}";
    let tags = || vec(text(), 0..4);
    let operation = (of(text()), of(text()), tags()).prop_map(|(id, summary, tags)| {
        let mut operation =
            json!({ "tags": tags, "responses": { "200": { "description": "ok" } } });
        operation["operationId"] = id.into();
        operation["summary"] = summary.into();
        operation
    });
    let methods = subsequence(vec!["get", "put", "post", "delete", "patch", "trace"], 1..4);
    let item = (methods, operation).prop_map(|(methods, operation)| {
        let operations = methods.into_iter().map(|method| (method.to_owned(), operation.clone()));
        Value::Object(operations.collect())
    });
    let segment = "[a-zA-Z0-9._~äß-]{1,8}|\\{[a-z_]{1,6}\\}|[a-z]{1,3}\\{x\\}\\.json";
    let template = vec(segment, 0..5).prop_map(|parts| format!("/{}", parts.join("/")));
    let template = template.prop_filter("dots are resolved", |text| {
        !text.split('/').any(|part| matches!(part, "." | ".."))
    });
    let url = (
        select(vec!["http", "https"]),
        "[a-z]{1,9}\\.example\\.com",
        of(1..=u16::MAX),
        "(/[a-z0-9]{1,5}){0,3}/?",
    );
    let url = url.prop_map(|(scheme, host, port, path)| {
        format!("{scheme}://{host}{}{path}", port.map_or(String::new(), |port| format!(":{port}")))
    });
    let version = select(vec!["3.0.0", "3.0.3", "3.1.0"]);
    (version, "[a-z]{1,80}[ -~]{0,9}", text(), tags(), url, btree_map(template, item, 0..8))
        .prop_map(|(version, title, description, tags, url, paths)| {
            let tags: Vec<Value> = tags.into_iter().map(|name| json!({ "name": name })).collect();
            json!({
                "openapi": version, "tags": tags, "servers": [{ "url": url }], "paths": paths,
                "info": { "title": title, "description": description, "version": "1" },
            })
        })
}

/// Documents with holes: words of OpenAPI in places where they may make no sense.
fn scrambled() -> impl Strategy<Value = Value> {
    let words = vec![
        "openapi",
        "3.0.0",
        "info",
        "title",
        "servers",
        "url",
        "paths",
        "get",
        "$ref",
        "#/paths",
        "#/",
        "/a/{b}",
        "variables",
        "default",
        "x-api7-hosts",
        "x-api7-upstream",
        "http://a/{v}",
    ];
    let leaf = prop_oneof![
        select(words.clone()).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        Just(Value::Null),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    let key = select(words);
    let inner = leaf.prop_recursive(5, 64, 6, move |inner| {
        let map = btree_map(key.clone().prop_map(str::to_owned), inner.clone(), 0..6);
        prop_oneof![
            vec(inner, 0..4).prop_map(Value::from),
            map.prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    (inner.clone(), inner.clone(), inner).prop_map(|(info, servers, paths)| {
        json!({ "openapi": "3.0.0", "info": { "title": "a", "x": info }, "servers": servers,
                "paths": paths })
    })
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}|[-a-z:&*\\[\\]{}\"'|>!%@ \n\t0-9]{0,200}") {
        let _ = read(&text);
        let _ = read(&format!("openapi: 3.0.0\ninfo: {{title: a}}\n{text}"));
    }

    #[test]
    fn any_structure_is_read_or_refused(document in scrambled()) {
        let _ = read(&document.to_string());
    }

    #[test]
    fn valid_documents_are_imported_and_can_be_served(document in document()) {
        let text = document.to_string();
        let import = read(&text).map_err(|broken| TestCaseError::fail(format!("{broken:?}")))?;
        let yaml = serde_norway::to_string(&document).unwrap();
        prop_assert_eq!(&read(&yaml).unwrap(), &import);
        let around = Surroundings::NONE;
        prop_assert_eq!(check_application(&import.application, &around), vec![]);
        let operations = document["paths"].as_object().unwrap().values();
        let count: usize = operations.map(|item| item.as_object().unwrap().len()).sum();
        prop_assert_eq!(import.apis.len(), count);
        let mut names = std::collections::BTreeSet::new();
        for ImportedApi { spec, .. } in &import.apis {
            prop_assert_eq!(check_api(&import.application, spec, &around), vec![]);
            prop_assert!((1..=64).contains(&spec.name.chars().count()), "{}", spec.name);
            prop_assert!(names.insert(&spec.name), "{} twice", spec.name);
        }
    }
}
