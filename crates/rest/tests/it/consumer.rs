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
