//! The life of an application.

use serde_json::json;

use crate::harness::{api, application, on_both};

#[tokio::test]
async fn an_application_lives() {
    on_both(|server| async move {
        let owner = &server.owner;
        let before = owner.revision().await;
        let created = owner.post(&owner.in_cluster("/apps"), application("shop")).await;
        assert!(created.revision() > before);
        assert_eq!(created.revision(), owner.revision().await);
        let path = owner.in_cluster(&format!("/apps/{}", created.id()));
        assert_eq!(owner.get(&path).await.ok(), created.ok());
        let mut changed = application("shop");
        changed["description"] = json!("sells things");
        let replaced = owner.put(&path, changed).await;
        assert_eq!(replaced.ok()["description"], "sells things");
        let patched = owner.patch(&path, json!({ "labels": ["a", "b"] })).await;
        assert_eq!(patched.ok()["labels"], json!(["a", "b"]));
        assert_eq!(patched.ok()["description"], "sells things");
        owner.post(&owner.in_cluster("/apps"), application("shop")).await.refused(409, 3);
        let labels = owner.get(&owner.in_cluster("/labels/application")).await;
        assert_eq!(*labels.ok(), json!(["a", "b"]));
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn an_application_in_use_goes_only_with_its_apis() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let apis = format!("/apps/{app}/apis");
        owner.post(&apis, api("cart")).await.ok();
        let path = owner.in_cluster(&format!("/apps/{app}"));
        owner.delete(&path).await.refused(409, 7);
        owner.delete(&format!("{path}?cascade=true")).await.ok();
        owner.get(&apis).await.refused(404, 4);
        for name in ["a", "b"] {
            owner.application(name).await;
        }
        owner.delete(&owner.in_cluster("/apps?cascade=true")).await.ok();
        assert_eq!(owner.get(&owner.in_cluster("/apps")).await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_refused_plugin_configuration_changes_nothing() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let before = owner.get(&path).await;
        let revision = owner.revision().await;
        for (plugins, field) in [
            (json!({ "limit-count": { "count": 0, "time_window": 60 } }), "plugins.limit-count"),
            (json!({ "no-such-plugin": {} }), "plugins.no-such-plugin"),
            (json!({ "ip-restriction": { "whitelist": ["999.0.0.1"] } }), "plugins.ip-restriction"),
        ] {
            let refused = owner.patch(&path, json!({ "plugins": plugins })).await;
            assert!(refused.refused(400, 2).contains(field), "{:#}", refused.body);
        }
        assert_eq!(owner.get(&path).await.body, before.body);
        assert_eq!(owner.revision().await, revision);
    })
    .await;
}

#[tokio::test]
async fn the_old_form_of_protocols_means_the_new_one() {
    on_both(|server| async move {
        let owner = &server.owner;
        let mut body = application("shop");
        body["protocol"] = json!("HTTPS");
        let created = owner.post(&owner.in_cluster("/apps"), body).await;
        assert_eq!(created.ok()["protocols"], json!(["HTTPS"]));
        let path = owner.in_cluster(&format!("/apps/{}", created.id()));
        let patched = owner.patch(&path, json!({ "protocol": "HTTP" })).await;
        assert_eq!(patched.ok()["protocols"], json!(["HTTP"]));
        let both = json!({ "protocol": "HTTP", "protocols": ["HTTPS", "HTTP"] });
        assert_eq!(owner.patch(&path, both).await.ok()["protocols"], json!(["HTTPS", "HTTP"]));
        owner.patch(&path, json!({ "protocols": ["FTP"] })).await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn a_patch_replaces_whole_fields_and_leaves_the_others() {
    on_both(|server| async move {
        let owner = &server.owner;
        let mut body = application("shop");
        body["plugins"] = json!({ "cors": { "allow_origins": "*" }, "request-id": {} });
        body["labels"] = json!(["a", "b"]);
        let path = owner.in_cluster("/apps");
        let path = owner.in_cluster(&format!("/apps/{}", owner.post(&path, body).await.id()));
        let patch =
            json!({ "plugins": { "cors": { "max_age": 9 } }, "labels": ["c"], "hosts": null });
        let patched = owner.patch(&path, patch).await;
        assert_eq!(
            patched.ok()["plugins"],
            json!({ "cors": { "max_age": 9 } }),
            "nothing is merged"
        );
        assert_eq!(patched.ok()["labels"], json!(["c"]));
        assert_eq!(patched.ok()["hosts"], json!(["shop.example.com"]), "null says nothing");
        owner.patch(&path, json!({})).await.refused(400, 2);
        let default = json!({ "default_upstream_version": "v9" });
        let refused = owner.patch(&path, default).await;
        assert!(refused.refused(400, 2).contains("`default_upstream_version`"));
    })
    .await;
}

#[tokio::test]
async fn all_applications_go_or_none_does() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (shop, _) = (owner.application("shop").await, owner.application("blog").await);
        owner.post(&format!("/apps/{shop}/apis"), api("cart")).await.ok();
        let all = owner.in_cluster("/apps");
        assert!(owner.delete(&all).await.refused(409, 7).contains("`shop`"));
        assert_eq!(owner.get(&all).await.ok()["count"], 2);
        owner.delete(&format!("/apps/{shop}/apis")).await.ok();
        owner.delete(&all).await.ok();
        assert_eq!(owner.get(&all).await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn a_draft_takes_its_routes_with_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        owner.post(&format!("/apps/{app}/apis"), api("cart")).await.ok();
        let path = owner.in_cluster(&format!("/apps/{app}"));
        let dump = format!("/debug/config/clusters/{}/application/{app}", owner.cluster);
        let served = async || {
            let dump = owner.get(&dump).await;
            let count = |array: &str| dump.ok()[array].as_array().unwrap().len();
            (count("routes"), count("services"), count("upstreams"))
        };
        assert_eq!(served().await, (1, 1, 1));
        owner.patch(&path, json!({ "active": 1 })).await.ok();
        assert_eq!(served().await, (0, 0, 0));
        let apis = owner.get(&format!("/apps/{app}/apis")).await;
        assert_eq!(apis.ok()["list"][0]["active"], 0, "the API's own state is kept");
        owner.patch(&path, json!({ "active": 0 })).await.ok();
        assert_eq!(served().await, (1, 1, 1));
    })
    .await;
}

#[tokio::test]
async fn applications_are_found_by_host_and_prefix_and_duplicates_are_told() {
    on_both(|server| async move {
        let owner = &server.owner;
        let shop = owner.application("shop").await;
        for (text, count) in
            [("SHOP.example", 1), ("shop.example.com/shop", 1), ("/shop", 1), ("/blog", 0)]
        {
            let path = owner.in_cluster(&format!("/apps?search={text}"));
            assert_eq!(owner.get(&path).await.ok()["count"], count, "{text}");
        }
        let mut other = application("other");
        other["hosts"] = json!(["a.example.com", "SHOP.example.com"]);
        other["path_prefix"] = json!("/shop/");
        let created = owner.post(&owner.in_cluster("/apps"), other).await;
        let warning = created.body["warning"].as_str().unwrap_or_else(|| panic!("{created:?}"));
        assert!(
            warning.contains("`shop`") && warning.contains("shop.example.com/shop"),
            "{warning}"
        );
        let path = owner.in_cluster(&format!("/apps/{}", created.id()));
        let apart = owner.patch(&path, json!({ "path_prefix": "/other" })).await;
        assert_eq!(apart.body.get("warning"), None);
        let again = json!({ "path_prefix": "/other" });
        let again = owner.patch(&owner.in_cluster(&format!("/apps/{shop}")), again).await;
        assert!(again.body.get("warning").is_some(), "the hosts are shared: {:#}", again.body);
    })
    .await;
}
