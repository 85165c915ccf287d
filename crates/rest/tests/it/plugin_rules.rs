//! Configurations of plugins are judged where they are written, by the rules gateways have.

use serde_json::{Value, json};

use crate::harness::{Person, api, application, on_both};

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
