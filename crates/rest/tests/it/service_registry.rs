//! The life of a service registry, and of applications that are looked up in it.

use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, application, on_both};

fn registry(name: &str, kind: &Value) -> Value {
    json!({ "name": name, "type": kind, "enabled": true, "kubernetes": {
        "api_server": { "scheme": "https", "host": "10.0.0.1", "port": 6443 },
        "service_account_token_value": "s3cret-token" } })
}

fn discovered(name: &str, registry: &str, kind: &Value) -> Value {
    let mut body = application(name);
    body["upstreams"][0]["upstream"] = json!({ "scheme": "http", "targets": null,
        "service_discovery": { "service_registry": kind, "service_registry_id": registry,
            "kubernetes_service": { "namespace": "shop", "name": "orders", "port": "http" } } });
    body
}

async fn upstream(owner: &Person, app: &str) -> Value {
    let path = format!("/debug/config{}", owner.in_cluster(&format!("/application/{app}")));
    let dump = owner.get(&path).await;
    let text = dump.ok()["upstreams"][0]["value"].as_str().unwrap().to_owned();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_registry_lives_and_its_token_stays_hidden() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/service_registries");
        let made = owner.post(&all, registry("pods", &json!("kubernetes"))).await;
        owner.post(&all, registry("pods", &json!("kubernetes"))).await.refused(409, 3);
        let path = format!("{all}/{}", made.id());
        let shown = owner.get(&path).await;
        assert_eq!(shown.ok()["kubernetes"]["service_account_token_value"], "******");
        assert_eq!(shown.ok()["type"], "kubernetes");
        // The mask keeps the stored token: nothing that gateways see changes.
        let before = owner.revision().await;
        owner.put(&path, shown.ok().clone()).await.ok();
        assert_eq!(owner.revision().await, before);
        assert_eq!(owner.get(&format!("{all}?type=kubernetes&search=POD")).await.names(), ["pods"]);
        let mut file = registry("files", &json!("kubernetes"));
        file["kubernetes"] = json!({ "api_server": {}, "service_account_token_file": "/token" });
        let file = owner.post(&all, file).await;
        assert_eq!(file.ok()["kubernetes"]["service_account_token_file"], "/token");
        let mut masked = registry("masked", &json!("kubernetes"));
        masked["kubernetes"]["service_account_token_value"] = json!("******");
        owner.post(&all, masked).await.refused(400, 2);
        let mut both = registry("both", &json!("kubernetes"));
        both["kubernetes"]["service_account_token_file"] = json!("/token");
        owner.post(&all, both).await.refused(400, 2);
        owner.post(&all, registry("other", &json!("consul"))).await.refused(400, 2);
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn the_go_sdk_reads_and_writes_the_kind_as_a_number() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/service_registries");
        let made = owner.post(&all, registry("pods", &json!(1))).await;
        assert_eq!(made.ok()["type"], "kubernetes");
        let app = discovered("shop", &made.id(), &json!(1));
        let app = owner.post(&owner.in_cluster("/apps"), app).await.id();
        let as_sdk = async |path: String| -> Value {
            let request = owner.request(Method::GET, &path).bearer_auth(&owner.token);
            let answer = Answer::read(request.header("user-agent", "Go-http-client/2.0")).await;
            answer.ok().clone()
        };
        assert_eq!(as_sdk(format!("{all}/{}", made.id())).await["type"], 1);
        assert_eq!(as_sdk(all).await["list"][0]["type"], 1);
        let kind = |app: &Value| {
            app["upstreams"][0]["upstream"]["service_discovery"]["service_registry"].clone()
        };
        let path = owner.in_cluster(&format!("/apps/{app}"));
        assert_eq!(kind(&as_sdk(path.clone()).await), 1);
        let apps = as_sdk(owner.in_cluster("/apps")).await;
        assert_eq!(kind(&apps["list"][0]), 1);
        assert_eq!(kind(owner.get(&path).await.ok()), "kubernetes");
    })
    .await;
}

#[tokio::test]
async fn applications_are_looked_up_while_their_registry_is_in_use() {
    on_both(|server| async move {
        let (owner, stranger) = (&server.owner, &server.stranger);
        let all = owner.in_cluster("/service_registries");
        let kind = json!("kubernetes");
        let pods = owner.post(&all, registry("pods", &kind)).await.id();
        let path = format!("{all}/{pods}");
        let foreign = stranger.in_cluster("/service_registries");
        let foreign = stranger.post(&foreign, registry("pods", &kind)).await.id();
        for unknown in [foreign.as_str(), "999999999999999999"] {
            let shop = discovered("shop", unknown, &kind);
            let refused = owner.post(&owner.in_cluster("/apps"), shop).await;
            let message = refused.refused(400, 2);
            assert!(message.contains("service_discovery.service_registry_id`"), "{message}");
        }
        let apps = owner.in_cluster("/apps");
        let shop = owner.post(&apps, discovered("shop", &pods, &kind)).await.id();
        let served = upstream(owner, &shop).await;
        assert_eq!(served["service_name"], format!("{pods}/shop/orders:http"));
        let message = owner.delete(&path).await;
        let message = message.refused(409, 7);
        assert!(message.contains("the application `shop`"), "{message}");
        // Switching off takes the nodes away from whoever is looked up there, in one revision.
        let mut off = owner.get(&path).await.ok().clone();
        off["enabled"] = json!(false);
        let before = owner.revision().await;
        assert_eq!(owner.put(&path, off.clone()).await.revision(), before + 1);
        assert_eq!(upstream(owner, &shop).await["nodes"], json!([]));
        let refused = owner.post(&apps, discovered("other", &pods, &kind)).await;
        assert!(refused.refused(400, 2).contains("`enabled`"), "{:#}", refused.body);
        // Whoever is there already can still be edited.
        let edit = json!({ "description": "waits" });
        owner.patch(&format!("{apps}/{shop}"), edit).await.ok();
        off["enabled"] = json!(true);
        owner.put(&path, off).await.ok();
        assert_eq!(upstream(owner, &shop).await["discovery_type"], "kubernetes");
        owner.delete(&format!("{apps}/{shop}")).await.ok();
        owner.delete(&path).await.ok();
    })
    .await;
}
