//! The life of a log collection, and of what binds it.

use serde_json::{Value, json};

use crate::harness::{Person, api, application, on_both};

fn http(name: &str) -> Value {
    json!({ "name": name, "type": "http-logger", "description": "of the shop",
        "spec": { "uri": "http://logs.internal:9000", "auth_header": "s3cret" } })
}

fn kafka(name: &str) -> Value {
    json!({ "name": name, "type": "kafka-logger", "spec": { "kafka_topic": "access", "brokers": [
        { "host": "kafka", "port": 9092, "sasl_config": { "user": "a", "password": "s3cret" } }] } })
}

/// The plugins that gateways are served for something.
async fn served(owner: &Person, kind: &str, id: &str, array: &str) -> Value {
    let path = format!("/debug/config{}", owner.in_cluster(&format!("/{kind}/{id}")));
    let dump = owner.get(&path).await;
    let text = dump.ok()[array][0]["value"].as_str().unwrap().to_owned();
    serde_json::from_str::<Value>(&text).unwrap()["plugins"].clone()
}

#[tokio::test]
async fn a_log_collection_lives_and_its_secrets_stay_hidden() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/log_collections");
        let made = owner.post(&all, http("shop-logs")).await;
        let path = format!("{all}/{}", made.id());
        owner.post(&all, kafka("queue")).await.ok();
        owner.post(&all, http("shop-logs")).await.refused(409, 3);
        let shown = owner.get(&path).await;
        assert_eq!(shown.ok()["spec"]["auth_header"], "******");
        assert_eq!(shown.ok()["description"], "of the shop");
        let list = owner.get(&format!("{all}?order_by=name&direction=asc&search=Q")).await;
        assert_eq!(list.names(), ["queue"]);
        assert!(!owner.get(&all).await.body.to_string().contains("s3cret"));
        let replaced = owner.put(&path, http("renamed")).await;
        assert_eq!(replaced.ok()["name"], "renamed");
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
        for (bad, field) in [
            (
                json!({ "name": "a b", "type": "http-logger", "spec": { "uri": "http://a" } }),
                "name",
            ),
            (json!({ "name": "a", "type": "file-logger", "spec": { "uri": "http://a" } }), "type"),
            (
                json!({ "name": "a", "type": "http-logger", "spec": { "uri": "no url" } }),
                "spec.uri",
            ),
            (json!({ "name": "a", "type": "kafka-logger", "spec": { "brokers": [] } }), "spec"),
            (
                json!({ "name": "a", "type": "http-logger",
                    "spec": { "uri": "http://a", "log_format": { "a": { "b": "$host" } } } }),
                "spec.log_format.a",
            ),
        ] {
            let refused = owner.post(&all, bad).await;
            assert!(refused.refused(400, 2).contains(&format!("`{field}")), "{:#}", refused.body);
        }
        let older = json!({ "name": "older", "type": "kafka-logger",
            "spec": { "broker_list": { "kafka": 9092 }, "kafka_topic": "access" } });
        let older = owner.post(&all, older).await;
        assert_eq!(older.ok()["spec"]["brokers"], json!([{ "host": "kafka", "port": 9092 }]));
    })
    .await;
}

#[tokio::test]
async fn a_bound_log_collection_is_served_everywhere_and_stays() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/log_collections");
        let logs = owner.post(&all, http("logs")).await.id();
        let queue = owner.post(&all, kafka("queue")).await.id();
        let mut shop = application("shop");
        shop["plugins"] = json!({ "logging": { "log_collections": [logs, queue] } });
        let shop = owner.post(&owner.in_cluster("/apps"), shop).await.id();
        let mut cart = api("cart");
        cart["plugins"] = json!({ "log_collections": [logs] });
        let apis = format!("/apps/{shop}/apis");
        let cart = owner.post(&apis, cart).await.id();
        let plugins = json!({ "logging": { "log_collections": [logs] } });
        owner.patch(&owner.in_cluster("/plugins"), plugins).await.ok();
        let service = served(owner, "application", &shop, "services").await;
        assert_eq!(service["kafka-logger"]["kafka_topic"], "access");
        // What was read can be written back; one revision brings the change to all three.
        let path = format!("{all}/{logs}");
        let mut edited = owner.get(&path).await.ok().clone();
        edited["spec"]["timeout"] = json!(7);
        let before = owner.revision().await;
        let dry = owner.put(&format!("{path}?dry_run=true"), edited.clone()).await;
        assert_eq!(dry.body["preview"]["changes"].as_array().unwrap().len(), 3);
        assert_eq!(owner.put(&path, edited).await.revision(), before + 1);
        for (kind, id, array) in [
            ("application", &shop, "services"),
            ("api", &cart, "routes"),
            ("cluster_settings", &owner.cluster, "global_rules"),
        ] {
            let logger = served(owner, kind, id, array).await["http-logger"].clone();
            assert_eq!(logger["timeout"], 7, "{kind}");
        }
        let refused = owner.delete(&path).await;
        let message = refused.refused(409, 7);
        assert!(message.contains("the application `shop` and 2 more"), "{message}");
        // As a second Kafka logger it would not fit the application, and nothing changes.
        let state = owner.get(&path).await.body;
        let refused = owner.put(&path, kafka("logs")).await;
        let message = refused.refused(400, 2);
        assert!(message.contains("the application `shop` does not fit"), "{message}");
        assert_eq!(owner.get(&path).await.body, state);
        let path = format!("{all}/{queue}");
        let patch = json!({ "plugins": { "logging": { "log_collections": [logs] } } });
        owner.patch(&owner.in_cluster(&format!("/apps/{shop}")), patch).await.ok();
        owner.delete(&path).await.ok();
        // Now the type may change, and takes everybody along.
        owner.put(&format!("{all}/{logs}"), kafka("logs")).await.ok();
        let service = served(owner, "application", &shop, "services").await;
        assert!(service.get("http-logger").is_none(), "{service}");
        assert_eq!(service["kafka-logger"]["kafka_topic"], "access");
    })
    .await;
}

#[tokio::test]
async fn only_collections_of_the_own_cluster_can_be_bound() {
    on_both(|server| async move {
        let (owner, stranger) = (&server.owner, &server.stranger);
        let foreign = stranger.post(&stranger.in_cluster("/log_collections"), http("logs")).await;
        for id in [foreign.id(), "999999999999999999".to_owned()] {
            let mut shop = application("shop");
            shop["plugins"] = json!({ "logging": { "log_collections": [id] } });
            let refused = owner.post(&owner.in_cluster("/apps"), shop).await;
            let message = refused.refused(400, 2);
            assert!(message.contains("`plugins.logging.log_collections[0]`"), "{message}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_plugin_that_a_log_collection_needs_stays_loaded() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/log_collections");
        let logs = owner.post(&all, kafka("queue")).await.id();
        let plugin = owner.in_cluster("/plugin_management/kafka-logger");
        let message = owner.delete(&plugin).await;
        assert!(message.refused(409, 7).contains("log collection `queue`"), "{:#}", message.body);
        owner.delete(&format!("{all}/{logs}")).await.ok();
        owner.delete(&plugin).await.ok();
        let refused = owner.post(&all, kafka("queue")).await;
        assert!(refused.refused(400, 2).contains("not loaded"), "{:#}", refused.body);
    })
    .await;
}
