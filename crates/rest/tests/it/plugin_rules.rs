//! Configurations of plugins are judged where they are written, by the rules gateways have.

use serde_json::{Value, json};

use crate::harness::{Person, api, application, on_both};
use crate::heartbeat::{door, report};

/// Broken plugins, and what the refusal has to say.
fn broken() -> [(Value, [&'static str; 2]); 3] {
    let rewrite = json!({ "proxy-rewrite": { "regex_uri": ["^/(", "/$1"] } });
    [
        (
            json!({ "limit-count": { "time_window": 60 } }),
            ["`plugins.limit-count` needs", "`count`"],
        ),
        (json!({ "no-such-plugin": {} }), ["`plugins.no-such-plugin`", "plugin"]),
        (rewrite, ["`plugins.proxy-rewrite.regex_uri", "regular expression"]),
    ]
}

async fn refused(owner: &Person, path: &str, body: &Value, plugins: Value, parts: [&str; 2]) {
    let mut body = body.clone();
    body["plugins"] = plugins;
    let answer = owner.post(path, body).await;
    let message = answer.refused(400, 2);
    for part in parts {
        assert!(message.contains(part), "{path}: {part} is not in: {message}");
    }
}

#[tokio::test]
async fn broken_plugins_are_refused_wherever_they_stand() {
    on_both(|server| async move {
        let owner = &server.owner;
        let shop = owner.application("shop").await;
        let revision = owner.revision().await;
        for (plugins, parts) in broken() {
            let apis = format!("/apps/{shop}/apis");
            refused(owner, &owner.in_cluster("/apps"), &application("a"), plugins.clone(), parts)
                .await;
            refused(owner, &apis, &api("cart"), plugins.clone(), parts).await;
            let consumers = owner.in_cluster("/consumers");
            refused(owner, &consumers, &json!({ "name": "alice" }), plugins.clone(), parts).await;
            let answer = owner.patch(&owner.in_cluster("/plugins"), plugins).await;
            let message = answer.refused(400, 2);
            let field = parts[0].replace("plugins.", "");
            assert!(message.contains(&field) && message.contains(parts[1]), "{message}");
        }
        assert_eq!(owner.revision().await, revision);
    })
    .await;
}

/// A plugin that only stock APISIX runs is refused while a gateway of ours serves the cluster, unless
/// it may be left out; what was accepted once stays.
#[tokio::test]
async fn plugins_that_no_gateway_of_ours_runs_are_refused_where_one_serves() {
    on_both(|server| async move {
        let owner = &server.owner;
        let shop = owner.application("shop").await;
        let apis = format!("/apps/{shop}/apis");
        let with = |name: &str| {
            let mut body = api(name);
            body["plugins"] = json!({ "loggly": { "customer_token": "token" } });
            body
        };
        let gateway = door(&server.app, owner).await;
        let heartbeat = |version: &str| {
            json!({ "id": "gw-1", "hostname": "host", "ip": "10.0.0.1", "version": version })
        };
        report(&gateway, &heartbeat("apisix/3.9.0")).await.ok();
        let early = owner.post(&apis, with("early")).await.id();

        report(&gateway, &heartbeat("Gantry/0.1.0")).await.ok();
        let revision = owner.revision().await;
        let refused = owner.post(&apis, with("late")).await;
        let message = refused.refused(400, 2);
        for part in ["`plugins.loggly`", "do not run", "?optional_plugins=loggly"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        assert_eq!(owner.revision().await, revision);
        owner.put(&format!("{apis}/{early}"), with("renamed")).await.ok();
        let other = format!("{apis}?optional_plugins=zipkin");
        owner.post(&other, with("late")).await.refused(400, 2);
        let optional = format!("{apis}?optional_plugins=zipkin,loggly");
        owner.post(&optional, with("late")).await.ok();
    })
    .await;
}

/// The same for single settings that our gateways do not do.
#[tokio::test]
async fn settings_that_no_gateway_of_ours_does_are_refused_where_one_serves() {
    on_both(|server| async move {
        let owner = &server.owner;
        let shop = owner.application("shop").await;
        let apis = format!("/apps/{shop}/apis");
        let with = |name: &str, method: &str| {
            let mut body = api(name);
            body["plugins"] = json!({ "openid-connect": {
                "client_id": "shop", "client_secret": "secret", "bearer_only": true,
                "discovery": "https://id.example.com/.well-known/openid-configuration",
                "introspection_endpoint_auth_method": method,
            }});
            body
        };
        owner.post(&apis, with("early", "tls_client_auth")).await.ok();
        let gateway = door(&server.app, owner).await;
        let heartbeat = json!({ "id": "gw-1", "hostname": "host", "ip": "10.0.0.1",
            "version": "Gantry/0.1.0" });
        report(&gateway, &heartbeat).await.ok();
        let refused = owner.post(&apis, with("late", "tls_client_auth")).await;
        let message = refused.refused(400, 2);
        for part in [
            "`plugins.openid-connect.introspection_endpoint_auth_method`",
            "must be one of client_secret_basic, ",
            "?optional_plugins=openid-connect",
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
        owner.post(&apis, with("late", "private_key_jwt")).await.ok();
        let optional = format!("{apis}?optional_plugins=openid-connect");
        owner.post(&optional, with("other", "tls_client_auth")).await.ok();
    })
    .await;
}
