//! Import of OpenAPI documents.

use serde_json::{Value, json};

use crate::harness::{Answer, Person, application, on_both};

/// A document with these paths.
fn document(title: &str, server: &str, paths: &Value) -> Value {
    json!({
        "openapi": "3.0.3", "info": { "title": title, "version": "1" },
        "servers": [{ "url": server }], "paths": paths,
    })
}

fn pets() -> Value {
    let paths = json!({
        "/pets": { "get": { "operationId": "listPets", "tags": ["pets"] }, "post": {} },
        "/pets/{id}": { "get": { "operationId": "getPet" }, "delete": { "operationId": "deletePet" } }
    });
    document("Pets", "https://api.example.com/v1", &paths)
}

async fn import(owner: &Person, document: &Value, query: &str) -> Answer {
    let path = owner.in_cluster(&format!("/apps/openapi{query}"));
    owner.post(&path, json!({ "openapi": document.to_string() })).await
}

/// Names and methods of an application's APIs, by name.
async fn apis(owner: &Person, app: &str) -> Vec<(String, String)> {
    let path = format!("/apps/{app}/apis?order_by=name&direction=ASC&page_size=100");
    let page = owner.get(&path).await;
    let apis = page.ok()["list"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    apis.map(|api| (text(&api["name"]), text(&api["methods"][0]))).collect()
}

/// What a dry run says about objects: kind, name, action.
fn objects(answer: &Answer) -> Vec<[&str; 3]> {
    let objects = answer.body["preview"]["objects"].as_array().unwrap().iter();
    let mut objects: Vec<[&str; 3]> = objects
        .map(|object| ["kind", "name", "action"].map(|field| object[field].as_str().unwrap()))
        .collect();
    objects.sort_unstable();
    objects
}

#[tokio::test]
async fn a_document_becomes_a_draft_application_with_its_apis() {
    on_both(|server| async move {
        let owner = &server.owner;
        let revision = owner.revision().await;
        let tried = import(owner, &pets(), "?dry_run=true").await;
        assert_eq!(
            objects(&tried),
            [
                ["api", "POST /pets", "create"],
                ["api", "deletePet", "create"],
                ["api", "getPet", "create"],
                ["api", "listPets", "create"],
                ["application", "Pets", "create"],
            ]
        );
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 0);

        let made = import(owner, &pets(), "").await;
        let app = made.id();
        assert_eq!((&made.ok()["name"], &made.ok()["active"]), (&json!("Pets"), &json!(1)));
        assert_eq!(made.ok()["hosts"], json!(["api.example.com"]));
        assert_eq!(made.ok()["protocols"], json!(["HTTPS"]));
        let target = &made.ok()["upstreams"][0]["upstream"]["targets"][0];
        assert_eq!(*target, json!({ "host": "api.example.com", "port": 443, "weight": 100 }));
        let names: Vec<String> =
            apis(owner, &app).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["POST /pets", "deletePet", "getPet", "listPets"]);
        let pets_label = owner.get(&owner.in_cluster("/labels/api")).await;
        assert_eq!(*pets_label.ok(), json!(["pets"]));
        assert_eq!(owner.revision().await, revision, "a draft is nothing to gateways");

        let path = owner.in_cluster(&format!("/apps/{app}"));
        owner.patch(&path, json!({ "active": 0 })).await.ok();
        let dump = format!("/debug/config/clusters/{}/application/{app}", owner.cluster);
        let routes = owner.get(&dump).await.ok()["routes"].as_array().unwrap().len();
        assert_eq!(routes, 4, "publishing the application publishes all of them");
    })
    .await;
}

#[tokio::test]
async fn a_second_import_brings_the_application_to_the_document() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = import(owner, &pets(), "").await.id();
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let same = import(owner, &pets(), "?dry_run=true").await;
        assert_eq!(objects(&same), Vec::<[&str; 3]>::new(), "nothing new");

        // What people did by hand in the meantime.
        let list = owner.get(&format!("/apps/{app}/apis?search=getPet")).await;
        let get_pet = list.ok()["list"][0]["id"].as_str().unwrap().to_owned();
        let get_pet = format!("/apps/{app}/apis/{get_pet}");
        let limited = json!({ "plugins": { "key-auth": {} }, "description": "by hand" });
        owner.patch(&get_pet, limited).await.ok();
        let manual =
            json!({ "name": "manual", "methods": ["GET"], "paths": [{ "path": "/health" }] });
        owner.post(&format!("/apps/{app}/apis"), manual).await.ok();
        let mut upstreams = owner.get(&path).await.ok()["upstreams"].clone();
        let mut second = upstreams[0].clone();
        second["version"] = json!("v2");
        upstreams.as_array_mut().unwrap().push(second);
        let patch = json!({ "name": "Renamed", "active": 0, "upstreams": upstreams });
        owner.patch(&path, patch).await.ok();

        let paths = json!({
            "/pets": { "get": { "operationId": "listPets", "summary": "All of them" } },
            "/pets/{id}": { "get": { "operationId": "readPet" } },
            "/owners": { "get": { "operationId": "manual" } }
        });
        let next = document("Pets", "https://api.example.com:444/v2", &paths);
        let tried = import(owner, &next, "?dry_run=true").await;
        let expected = [
            ["api", "POST /pets", "delete"],
            ["api", "deletePet", "delete"],
            ["api", "listPets", "update"],
            ["api", "manual 2", "create"],
            ["api", "readPet", "update"],
            ["application", "Renamed", "update"],
        ];
        assert_eq!(objects(&tried), expected);
        assert!(!tried.body["preview"]["changes"].as_array().unwrap().is_empty(), "keys as well");
        let made = import(owner, &next, "").await;
        assert_eq!(made.id(), app);
        assert!(made.body["warning"].as_str().unwrap().contains("drafts"), "{:#}", made.body);
        assert_eq!((&made.ok()["name"], &made.ok()["active"]), (&json!("Renamed"), &json!(0)));
        assert_eq!(made.ok()["path_prefix"], "/v2");
        let versions = made.ok()["upstreams"].as_array().unwrap();
        assert_eq!(versions.len(), 2, "the version somebody added stays");
        assert_eq!(versions[0]["upstream"]["targets"][0]["port"], 444);
        let names: Vec<String> =
            apis(owner, &app).await.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["listPets", "manual", "manual 2", "readPet"]);
        let kept = owner.get(&get_pet).await;
        assert_eq!(kept.ok()["plugins"], json!({ "key-auth": {} }));
        assert_eq!(kept.ok()["description"], "by hand");
        assert_eq!(kept.ok()["name"], "readPet");
        let condition = &kept.ok()["fine_grained_route_control"]["expressions"][0];
        assert_eq!(condition["value"], "^/v2/pets/[^/]+$");
        assert_eq!(objects(&import(owner, &next, "?dry_run=true").await), Vec::<[&str; 3]>::new());
    })
    .await;
}

#[tokio::test]
async fn names_that_are_taken_get_a_number() {
    on_both(|server| async move {
        let owner = &server.owner;
        owner.post(&owner.in_cluster("/apps"), application("Pets")).await.ok();
        let made = import(owner, &pets(), "").await;
        assert_eq!(made.ok()["name"], "Pets 2");
        let path = owner.in_cluster(&format!("/apps/{}?cascade=true", made.id()));
        owner.delete(&path).await.ok();
        let again = import(owner, &pets(), "").await;
        assert_ne!(again.id(), made.id(), "a deleted application is forgotten");
    })
    .await;
}

#[tokio::test]
async fn documents_that_cannot_be_imported_change_nothing() {
    on_both(|server| async move {
        let owner = &server.owner;
        let star = json!({ "/ok": { "get": {} }, "/a*b": { "get": {} } });
        for (text, field) in [
            (String::new(), "`openapi`"),
            ("swagger: '2.0'".into(), "`openapi.swagger`"),
            (document("a", "/v1", &json!({})).to_string(), "`openapi.servers[0].url`"),
            (document("a", "http://a.example.com", &star).to_string(), "`openapi.paths./a*b.get`"),
            (
                document("a", "http://a.example.com", &json!({ "/a": { "$ref": "x.yaml#/a" } }))
                    .to_string(),
                "`openapi.paths./a.$ref`",
            ),
        ] {
            let path = owner.in_cluster("/apps/openapi");
            let refused = owner.post(&path, json!({ "openapi": text })).await;
            assert!(refused.refused(400, 2).contains(field), "{field}: {:#}", refused.body);
        }
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 0);
        // The other spellings of the path lead here too.
        let body = json!({ "openapi": pets().to_string() });
        owner.post(&owner.in_cluster("/openapi"), body.clone()).await.ok();
        owner.post(&owner.in_cluster("/transcode/openapi"), body).await.ok();
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 1);
    })
    .await;
}
