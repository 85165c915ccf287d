//! Clusters: settings, plugins, what gateways need to join.

use serde_json::{Value, json};

use crate::harness::on_both;

#[tokio::test]
async fn settings_and_plugins_of_a_cluster_are_kept() {
    on_both(|server| async move {
        let owner = &server.owner;
        let before = owner.revision().await;
        let settings = json!({ "client_settings": { "maximum_request_body_size": 1024,
            "client_real_ip": { "enabled": true, "trusted_addresses": ["10.0.0.0/8"],
                "replace_from": { "position": "header", "name": "X-Real-IP" } } } });
        let changed = owner.patch(&owner.in_cluster("/config"), settings).await;
        changed.ok();
        assert!(changed.revision() > before);
        let plugins = json!({ "cors": {} });
        owner.patch(&owner.in_cluster("/plugins"), plugins).await.ok();
        let cluster = owner.get(&owner.in_cluster("")).await;
        let size = &cluster.ok()["settings"]["client_settings"]["maximum_request_body_size"];
        assert_eq!(size, 1024);
        assert!(cluster.ok()["policies"]["cors"].is_object());
        let refused = owner.patch(&owner.in_cluster("/plugins"), json!({ "no-such": {} })).await;
        assert!(refused.refused(400, 2).contains("no-such"));
    })
    .await;
}

#[tokio::test]
async fn a_gateway_gets_a_certificate_and_a_template() {
    on_both(|server| async move {
        let owner = &server.owner;
        let bundle = owner.get(&owner.in_cluster("/gateway_certificate")).await;
        for part in ["certificate", "private_key", "ca_certificate"] {
            assert!(bundle.ok()[part].as_str().unwrap().starts_with("-----BEGIN "), "{part}");
        }
        for kind in ["apisix", "helm"] {
            let template =
                owner.get(&owner.in_cluster(&format!("/startup_config_tpl/{kind}"))).await;
            assert!(template.ok()["configuration"].as_str().unwrap().contains("etcd"), "{kind}");
        }
        owner.get(&owner.in_cluster("/startup_config_tpl/docker")).await.refused(400, 2);
        assert_eq!(owner.get(&owner.in_cluster("/instances")).await.ok()["count"], 0);
    })
    .await;
}

#[tokio::test]
async fn the_reference_of_plugins_and_variables_is_there() {
    on_both(|server| async move {
        let owner = &server.owner;
        let schema = owner.get("/plugins/limit-count/schema").await;
        assert!(schema.ok()["properties"]["count"].is_object());
        assert_eq!(owner.get("/plugins/limit-count").await.body, schema.body);
        owner.get("/plugins/no-such/schema").await.refused(404, 4);
        owner.get("/plugins/http-logger/metadata_schema").await.ok();
        let available = owner.get(&format!("/orgs/{}/plugins", owner.org)).await;
        assert!(available.names().contains(&"key-auth".to_owned()));
        assert!(owner.get("/variables").await.names().contains(&"remote_addr".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn a_debug_dump_shows_what_gateways_get() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let dump = |kind: &str, id: &str| {
            format!("/debug/config{}", owner.in_cluster(&format!("/{kind}/{id}")))
        };
        let shown = owner.get(&dump("application", &app)).await;
        for part in ["services", "upstreams"] {
            let value = shown.ok()[part][0]["value"].as_str().unwrap();
            assert!(serde_json::from_str::<Value>(value).unwrap().is_object());
        }
        owner.get(&dump("cluster_settings", &owner.cluster)).await.ok();
        owner.get(&dump("application", "999999")).await.refused(404, 4);
        owner.get(&dump("upstream", &app)).await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_needs_a_name() {
    on_both(|server| async move {
        let owner = &server.owner;
        let refused = owner.post(&format!("/orgs/{}/clusters", owner.org), json!({})).await;
        let message = refused.refused(400, 2);
        assert!(message.contains("`name` must be 1 to 63"), "{message}");
        assert!(message.contains("for example \"production\""), "{message}");
    })
    .await;
}
