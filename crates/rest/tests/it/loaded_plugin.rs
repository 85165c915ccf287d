//! Plugins that may be used in a cluster: loading, metadata, references, unloading.

use serde_json::{Value, json};

use crate::harness::{Answer, Person, api, application, on_both};

const LOADED: &str = "/plugin_management";

fn record(id: &str) -> String {
    format!("{LOADED}/{id}")
}

async fn all(owner: &Person) -> Answer {
    owner.get(&owner.in_cluster("/plugin_management?page_size=1000")).await
}

/// The documents that gateways get for the cluster as a whole, by key.
async fn served(owner: &Person, key: &str) -> Option<Value> {
    let path = format!("/debug/config{}", owner.in_cluster("/cluster_settings/"));
    let dump = owner.get(&format!("{path}{}", owner.cluster)).await;
    let groups = dump.ok().as_object().unwrap().values().flat_map(|list| list.as_array().unwrap());
    let found = groups.clone().find(|item| item["key"] == key);
    found.map(|item| serde_json::from_str(item["value"].as_str().unwrap()).unwrap())
}

/// Names in the list of plugins that gateways get.
async fn list(owner: &Person) -> Vec<String> {
    let list = served(owner, "/apisix/plugins").await.unwrap_or_default();
    let names = list.as_array().into_iter().flatten().filter(|one| one["stream"].is_null());
    names.map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_new_cluster_has_what_gateways_start_with() {
    on_both(|server| async move {
        let owner = &server.owner;
        let names = all(owner).await.names();
        assert!(names.len() > 100, "{}", names.len());
        assert!(names.contains(&"limit-count".to_owned()));
        assert!(!names.contains(&"error-page".to_owned()));
        assert_eq!(list(owner).await, Vec::<String>::new());
        let found = owner.get(&owner.in_cluster("/plugin_management?search=LIMIT-CO")).await;
        assert_eq!(found.names().len(), 3, "limit-conn, limit-count, graphql-limit-count");
        let one = &found.ok()["list"][2];
        assert_eq!(one["plugin_management_id"], one["name"]);
        assert_eq!(one["type"], "traffic");
        assert_eq!(one["metadata"], json!({}));
        let query = "?page=2&page_size=2&order_by=created_at&direction=ASC";
        let page = owner.get(&owner.in_cluster(&format!("{LOADED}{query}"))).await;
        assert_eq!(page.ok()["count"], names.len());
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(page.names(), sorted[2..4]);
    })
    .await;
}

#[tokio::test]
async fn only_loaded_plugins_can_be_used() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let apis = format!("/apps/{app}/apis");
        let used = json!({ "error-page": {} });
        let with = |mut body: Value| {
            body["plugins"] = used.clone();
            body
        };
        let (apps, consumers) = (owner.in_cluster("/apps"), owner.in_cluster("/consumers"));
        let revision = owner.revision().await;
        for (path, body) in [
            (&apps, with(application("other"))),
            (&apis, with(api("cart"))),
            (&consumers, with(json!({ "name": "alice" }))),
        ] {
            let refused = owner.post(path, body).await;
            let message = refused.refused(400, 2);
            assert!(message.contains("`plugins.error-page` needs the plugin"), "{message}");
            assert!(message.contains("/plugin_management"), "{message}");
        }
        let refused = owner.patch(&owner.in_cluster("/plugins"), used.clone()).await;
        assert!(refused.refused(400, 2).contains("`error-page` needs the plugin"));
        let refused = owner.patch(&format!("{apps}/{app}"), json!({ "plugins": used })).await;
        refused.refused(400, 2);
        assert_eq!(owner.revision().await, revision);

        let load = json!({ "name": "error-page", "type": "mine" });
        let loaded = owner.post(&owner.in_cluster(LOADED), load).await;
        loaded.ok();
        assert_eq!(loaded.revision(), revision + 1);
        assert_eq!(all(owner).await.ok()["list"][0]["name"], "error-page");
        assert_eq!(all(owner).await.ok()["list"][0]["type"], "mine");
        let names = list(owner).await;
        assert!(names.contains(&"error-page".to_owned()) && names.contains(&"key-auth".to_owned()));
        owner.post(&apps, with(application("other"))).await.ok();
        owner.post(&apis, with(api("cart"))).await.ok();
        owner.post(&consumers, with(json!({ "name": "alice" }))).await.ok();
        owner.patch(&owner.in_cluster("/plugins"), used.clone()).await.ok();
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_loaded_is_named() {
    on_both(|server| async move {
        let owner = &server.owner;
        let load = async |body: Value| owner.post(&owner.in_cluster(LOADED), body).await;
        let unknown = load(json!({ "name": "no-such" })).await;
        assert!(unknown.refused(400, 2).contains("`name` must be the name of a plugin"));
        let twice = load(json!({ "name": "cors" })).await;
        assert!(twice.refused(409, 3).contains("`cors` is loaded in this cluster already"));
        let taken = load(json!({ "name": "error-page", "plugin_management_id": "cors" })).await;
        assert!(taken.refused(400, 2).contains("`plugin_management_id` must not be"));
        let metadata = json!({ "name": "brotli", "metadata": { "a": 1 } });
        assert!(load(metadata).await.refused(400, 2).contains("`metadata` must be empty"));
        load(json!({ "name": "error-page", "plugin_management_id": "42" })).await.ok();
        let second = load(json!({ "name": "brotli", "plugin_management_id": "42" })).await;
        assert!(second.refused(409, 3).contains("`plugin_management_id` is already the id"));
        let sent = json!({ "metadata": {} });
        owner.put(&owner.in_cluster(&record("42")), sent.clone()).await.ok();
        owner.put(&owner.in_cluster(&record("error-page")), sent).await.refused(404, 4);
        owner.delete(&owner.in_cluster(&record("42"))).await.ok();
        owner.delete(&owner.in_cluster(&record("42"))).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn metadata_reaches_gateways_and_keeps_its_secrets() {
    on_both(|server| async move {
        let owner = &server.owner;
        let put = async |id: &str, metadata: Value| {
            let body = json!({ "metadata": metadata });
            owner.put(&owner.in_cluster(&record(id)), body).await
        };
        let refused = put("http-logger", json!({ "log_format": "plain" })).await;
        assert!(refused.refused(400, 2).contains("`metadata.log_format` must"));
        put("http-logger", json!({ "log_format": { "host": "$host" } })).await.ok();
        let key = "/apisix/plugin_metadata/http-logger";
        let expected = json!({ "id": "http-logger", "log_format": { "host": "$host" } });
        assert_eq!(served(owner, key).await, Some(expected));
        assert_eq!(list(owner).await, Vec::<String>::new(), "nothing was loaded or unloaded");
        put("http-logger", json!({})).await.ok();
        assert_eq!(served(owner, key).await, None);

        let azure = json!({ "master_apikey": "hush", "master_clientid": "me" });
        put("azure-functions", azure.clone()).await.ok();
        let shown = all(owner).await.ok()["list"][0].clone();
        let masked = json!({ "master_apikey": "******", "master_clientid": "me" });
        assert_eq!((&shown["name"], &shown["metadata"]), (&json!("azure-functions"), &masked));
        let revision = owner.revision().await;
        put("azure-functions", masked.clone()).await.ok();
        assert_eq!(owner.revision().await, revision, "the mask kept the secret");
        let key = "/apisix/plugin_metadata/azure-functions";
        assert_eq!(served(owner, key).await.unwrap()["master_apikey"], "******");
    })
    .await;
}

#[tokio::test]
async fn a_plugin_is_unloaded_when_nothing_uses_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let limit = json!({ "limit-count": { "count": 1, "time_window": 60 } });
        let with = |mut body: Value| {
            body["plugins"] = limit.clone();
            body
        };
        let shop = owner.post(&owner.in_cluster("/apps"), with(application("shop"))).await.id();
        let cart = owner.post(&format!("/apps/{shop}/apis"), with(api("cart"))).await.id();
        let alice = with(json!({ "name": "alice" }));
        let alice = owner.post(&owner.in_cluster("/consumers"), alice).await.id();
        owner.patch(&owner.in_cluster("/plugins"), limit.clone()).await.ok();
        let of = |plugin: &str| owner.in_cluster(&format!("{}/references", record(plugin)));
        let expected = json!({
            "cluster": true, "count": 4, "log_collections": [],
            "applications": [{ "id": shop, "name": "shop" }],
            "apis": [{ "id": cart, "name": "cart" }],
            "consumers": [{ "id": alice, "name": "alice" }],
        });
        assert_eq!(owner.get(&of("limit-count")).await.ok(), &expected);
        assert_eq!(owner.get(&of("cors")).await.ok()["count"], 0);
        owner.get(&of("no-such")).await.refused(404, 4);

        let unload = owner.in_cluster(&record("limit-count"));
        let refused = owner.delete(&unload).await;
        let message = refused.refused(409, 7);
        for part in ["all traffic", "application `shop`", "API `cart`", "consumer `alice`"] {
            assert!(message.contains(part), "{part} is not in: {message}");
        }
        owner.patch(&owner.in_cluster("/plugins"), json!({ "limit-count": null })).await.ok();
        owner.put(&owner.in_cluster(&format!("/apps/{shop}")), application("shop")).await.ok();
        owner.put(&format!("/apps/{shop}/apis/{cart}"), api("cart")).await.ok();
        assert_eq!(owner.get(&of("limit-count")).await.ok()["count"], 1);
        owner.delete(&unload).await.refused(409, 7);
        owner.delete(&owner.in_cluster(&format!("/consumers/{alice}"))).await.ok();

        let rehearsed = owner.delete(&format!("{unload}?dry_run=true")).await;
        rehearsed.ok();
        let preview = &rehearsed.body["preview"]["changes"];
        assert_eq!(preview[0]["key"], "/apisix/plugins");
        owner.delete(&unload).await.ok();
        owner.get(&of("limit-count")).await.refused(404, 4);
        assert!(!list(owner).await.contains(&"limit-count".to_owned()));
        let again = owner.put(&format!("/apps/{shop}/apis/{cart}"), with(api("cart"))).await;
        assert!(again.refused(400, 2).contains("`plugins.limit-count` needs the plugin"));
        owner.post(&owner.in_cluster(LOADED), json!({ "name": "limit-count" })).await.ok();
        owner.put(&format!("/apps/{shop}/apis/{cart}"), with(api("cart"))).await.ok();
        assert!(list(owner).await.contains(&"limit-count".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn uses_behind_other_names_count() {
    on_both(|server| async move {
        let owner = &server.owner;
        let plugins = json!({ "authentication": { "type": "basic-auth" } });
        owner.patch(&owner.in_cluster("/plugins"), plugins).await.ok();
        let acl = json!({ "acl": { "mode": "Deny", "denied_consumers": ["alice"] } });
        let mut shop = application("shop");
        shop["plugins"] = acl;
        owner.post(&owner.in_cluster("/apps"), shop).await.ok();
        let alice = json!({ "name": "alice", "credentials": { "key-auth": { "key": "k" } } });
        owner.post(&owner.in_cluster("/consumers"), alice).await.ok();
        for (plugin, user) in [
            ("basic-auth", "all traffic"),
            ("consumer-restriction", "application `shop`"),
            ("key-auth", "consumer `alice`"),
            ("real-ip", "cannot be unloaded"),
        ] {
            let refused = owner.delete(&owner.in_cluster(&record(plugin))).await;
            let message = refused.refused(409, 7);
            assert!(message.contains(user), "{plugin}: {message}");
        }
        owner.delete(&owner.in_cluster(&record("jwt-auth"))).await.ok();
    })
    .await;
}
