//! The life of a certificate.

use serde_json::json;

use crate::harness::{certificate, on_both};

#[tokio::test]
async fn a_certificate_lives_and_never_shows_its_key() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/certificates");
        let created = owner.post(&all, certificate("shop.example.com")).await;
        assert_eq!(created.ok()["snis"], json!(["shop.example.com"]));
        assert!(!created.body.to_string().contains("PRIVATE KEY"));
        let path = format!("{all}/{}", created.id());
        let replaced = owner.put(&path, certificate("blog.example.com")).await;
        assert_eq!(replaced.ok()["snis"], json!(["blog.example.com"]));
        assert_eq!(replaced.ok()["Metadata"]["snis"], json!(["blog.example.com"]));
        let patched = owner.patch(&path, json!({ "labels": ["web"] })).await;
        assert_eq!(patched.ok()["labels"], json!(["web"]));
        assert_eq!(owner.get(&all).await.ok()["count"], 1);
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_with_a_foreign_key_or_no_certificate_is_refused() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/certificates");
        let mut mixed = certificate("a.example.com");
        mixed["private_key"] = certificate("b.example.com")["private_key"].clone();
        assert!(owner.post(&all, mixed).await.refused(400, 2).contains("private_key"));
        let mut garbage = certificate("a.example.com");
        garbage["certificate"] = json!("x".repeat(200));
        assert!(owner.post(&all, garbage).await.refused(400, 2).contains("certificate"));
        assert_eq!(owner.get(&all).await.ok()["count"], 0);
    })
    .await;
}
