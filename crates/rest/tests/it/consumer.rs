//! The life of a consumer.

use serde_json::json;

use crate::harness::on_both;

#[tokio::test]
async fn a_consumer_lives_and_its_secrets_stay_hidden() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/consumers");
        let body = json!({ "name": "alice", "credentials": { "key-auth": { "key": "s3cret" } } });
        let created = owner.post(&all, body).await;
        let path = format!("{all}/{}", created.id());
        let shown = owner.get(&path).await;
        assert!(!shown.body.to_string().contains("s3cret"), "{:#}", shown.body);
        // What was read can be written back: the mask keeps the stored secret.
        let before = owner.revision().await;
        owner.put(&path, shown.ok().clone()).await.ok();
        assert_eq!(owner.revision().await, before);
        let patched = owner.patch(&path, json!({ "description": "phone" })).await;
        assert_eq!(patched.ok()["description"], "phone");
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn two_consumers_never_share_a_credential() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/consumers");
        let with_key =
            |name: &str| json!({ "name": name, "credentials": { "key-auth": { "key": "same" } } });
        owner.post(&all, with_key("alice")).await.ok();
        let refused = owner.post(&all, with_key("bob")).await;
        let message = refused.refused(409, 3);
        assert!(
            message.contains("`credentials.key-auth.key`") && !message.contains("same\""),
            "{message}"
        );
        assert_eq!(owner.get(&all).await.names(), ["alice"]);
        // Another cluster is another world.
        let stranger = &server.stranger;
        stranger.post(&stranger.in_cluster("/consumers"), with_key("bob")).await.ok();
    })
    .await;
}

#[tokio::test]
async fn a_token_is_issued_to_who_has_a_credential_for_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/consumers");
        let secret = "a-secret-of-thirty-two-characters";
        let alice = json!({ "name": "alice", "credentials": {
            "jwt-auth": { "key": "alice-key", "secret": secret } } });
        let alice = format!("{all}/{}/jwt", owner.post(&all, alice).await.id());
        let bob = format!("{all}/{}/jwt", owner.post(&all, json!({ "name": "bob" })).await.id());
        let before = owner.revision().await;
        let issued = owner.post(&alice, json!({ "custom_payload": { "role": "admin" } })).await;
        assert_eq!(issued.ok()["token"].as_str().unwrap().split('.').count(), 3);
        assert_eq!(owner.revision().await, before, "gateways see nothing of it");
        owner.post(&alice, json!({})).await.ok();
        // Nothing tells of a dry run, so it hands out nothing.
        let dry = owner.post(&format!("{alice}?dry_run=true"), json!({})).await;
        assert_eq!(dry.ok()["token"], "******");
        let refused = owner.post(&bob, json!({})).await;
        assert!(refused.refused(400, 2).contains("`credentials.jwt-auth`"), "{:#}", refused.body);
        for (bad, field) in [
            (json!({ "ttl": 0 }), "ttl"),
            (json!({ "ttl": i64::MAX }), "ttl"),
            (json!({ "custom_payload": {} }), "custom_payload"),
            (json!({ "custom_payload": { "exp": 1 } }), "custom_payload.exp"),
            (json!({ "custom_payload": { "key": "bob" } }), "custom_payload.key"),
        ] {
            let refused = owner.post(&alice, bad).await;
            assert!(refused.refused(400, 2).contains(&format!("`{field}`")), "{:#}", refused.body);
        }
    })
    .await;
}
