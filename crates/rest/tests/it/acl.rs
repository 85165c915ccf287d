//! Access by labels of consumers: it follows the consumers, in the revision that changes them.

use serde_json::{Value, json};

use crate::harness::{Person, api, application, on_both};

/// The plugin `consumer-restriction` that gateways are served for something.
async fn restriction(owner: &Person, kind: &str, id: &str) -> Value {
    let path = format!("/debug/config{}", owner.in_cluster(&format!("/{kind}/{id}")));
    let dump = owner.get(&path).await;
    let array = match kind {
        "application" => "services",
        "api" => "routes",
        "consumer" => "consumers",
        _ => "global_rules",
    };
    let text = dump.ok()[array][0]["value"].as_str().unwrap().to_owned();
    let value: Value = serde_json::from_str(&text).unwrap();
    value["plugins"]["consumer-restriction"].clone()
}

#[tokio::test]
async fn an_acl_by_labels_follows_the_consumers() {
    on_both(|server| async move {
        let owner = &server.owner;
        let acl = |mode: &str, field: &str| json!({ "acl": { "mode": mode, field: ["gold"] } });
        let mut shop = application("shop");
        shop["plugins"] = acl("Allow", "allowed_consumer_labels");
        let shop = owner.post(&owner.in_cluster("/apps"), shop).await.id();
        let mut cart = api("cart");
        cart["plugins"] = acl("Deny", "denied_consumer_labels");
        let cart = owner.post(&format!("/apps/{shop}/apis"), cart).await.id();
        owner.post(&format!("/apps/{shop}/apis"), api("other")).await.ok();
        let plugins = acl("Allow", "allowed_consumer_labels");
        owner.patch(&owner.in_cluster("/plugins"), plugins.clone()).await.ok();
        // Nobody carries the label: nobody may come in.
        let shown = restriction(owner, "application", &shop).await;
        assert_eq!(shown["whitelist"], json!(["#nobody"]));
        let consumers = owner.in_cluster("/consumers");
        let alice = json!({ "name": "alice", "labels": ["gold", "old"], "plugins": plugins });
        let before = owner.revision().await;
        let alice = owner.post(&consumers, alice).await;
        assert_eq!(alice.revision(), before + 1, "one revision for all");
        let alice = alice.id();
        for (kind, id, list) in [
            ("application", &shop, "whitelist"),
            ("api", &cart, "blacklist"),
            ("consumer", &alice, "whitelist"),
            ("cluster_settings", &owner.cluster, "whitelist"),
        ] {
            let shown = restriction(owner, kind, id).await;
            assert_eq!(shown[list], json!(["alice"]), "{kind}");
        }
        let alice = format!("{consumers}/{alice}");
        let relabelled = json!({ "labels": ["silver"] });
        let dry = owner.patch(&format!("{alice}?dry_run=true"), relabelled.clone()).await;
        let changes = dry.body["preview"]["changes"].as_array().unwrap();
        let keys: Vec<&str> = changes.iter().map(|one| one["key"].as_str().unwrap()).collect();
        let expected = [
            "/apisix/consumers/alice".to_owned(),
            "/apisix/global_rules/cluster".to_owned(),
            format!("/apisix/routes/{cart}"),
            format!("/apisix/services/{shop}"),
        ];
        assert_eq!(keys, expected, "nothing else is touched");
        owner.patch(&alice, relabelled).await.ok();
        let shown = restriction(owner, "application", &shop).await;
        assert_eq!(shown["whitelist"], json!(["#nobody"]));
        owner.patch(&alice, json!({ "labels": ["gold"] })).await.ok();
        owner.delete(&alice).await.ok();
        let shown = restriction(owner, "api", &cart).await;
        assert_eq!(shown["blacklist"], json!(["#nobody"]));
    })
    .await;
}

#[tokio::test]
async fn an_acl_names_somebody() {
    on_both(|server| async move {
        let owner = &server.owner;
        let mut shop = application("shop");
        for acl in [
            json!({ "mode": "Allow" }),
            json!({ "mode": "Allow", "allowed_consumers": [] }),
            json!({ "mode": "Deny", "denied_consumer_labels": "gold" }),
            json!({ "mode": "Maybe", "allowed_consumers": ["alice"] }),
        ] {
            shop["plugins"] = json!({ "acl": acl.clone() });
            let refused = owner.post(&owner.in_cluster("/apps"), shop.clone()).await;
            assert!(refused.refused(400, 2).contains("`plugins.acl."), "{acl}");
        }
    })
    .await;
}
