//! Service admins: members who look after single applications.

use serde_json::{Value, json};

use crate::harness::{api, application, on_both};

fn items(ids: &[&str]) -> Value {
    json!({ "items": ids.iter().map(|id| json!({ "member_id": id })).collect::<Vec<_>>() })
}

#[tokio::test]
async fn a_service_admin_works_on_one_application_and_sees_what_is_needed_for_it() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (shop, other) = (owner.application("shop").await, owner.application("other").await);
        for app in [&shop, &other] {
            owner.post(&format!("/apps/{app}/apis"), api("cart")).await.ok();
        }
        let (bob, id) = server.member("bob@example.com", "Organization Viewer").await;
        owner.bind(&id, &[]).await;
        bob.get(&owner.in_cluster("/apps")).await.refused(403, 5);
        owner.post(&format!("/apps/{shop}/service_admins"), items(&[&id])).await.ok();
        assert_eq!(bob.get(&owner.in_org("/clusters")).await.names(), ["default"]);
        let list = bob.get(&owner.in_cluster("/apps")).await;
        assert_eq!((list.names(), &list.ok()["count"]), (vec!["shop".to_owned()], &json!(1)));
        let found = bob.get(&owner.in_cluster("/apis")).await;
        assert_eq!(found.ok()["count"], 1);
        assert_eq!(found.ok()["list"][0]["application"]["id"], json!(shop));
        let path = owner.in_cluster(&format!("/apps/{shop}"));
        bob.put(&path, application("shop")).await.ok();
        let made = bob.post(&format!("/apps/{shop}/apis"), api("two")).await.id();
        bob.delete(&format!("/apps/{shop}/apis/{made}")).await.ok();
        for path in ["/consumers", "/certificates", "/labels/api"] {
            bob.get(&owner.in_cluster(path)).await.ok();
        }
        bob.delete(&path).await.refused(403, 5);
        bob.get(&owner.in_cluster(&format!("/apps/{other}"))).await.refused(403, 5);
        bob.get(&format!("/apps/{other}/apis")).await.refused(403, 5);
        bob.get(&owner.in_cluster("/apps/999999999999999999")).await.refused(403, 5);
        bob.post(&owner.in_cluster("/consumers"), json!({ "name": "c" })).await.refused(403, 5);
        let foreign = server.stranger.application("foreign").await;
        let refused = bob.get(&format!("/apps/{foreign}/apis")).await;
        assert_eq!(refused.refused(404, 4), "no such application");
        owner.delete(&format!("/apps/{shop}/service_admins/{id}")).await.ok();
        bob.get(&path).await.refused(403, 5);
        owner.delete(&format!("/apps/{shop}/service_admins/{id}")).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn service_admins_are_added_listed_and_searched() {
    on_both(|server| async move {
        let owner = &server.owner;
        let shop = owner.application("shop").await;
        let path = format!("/apps/{shop}/service_admins");
        let (_, bob) = server.member("bob@example.com", "Organization Viewer").await;
        let pending = owner.invite("stranger@example.com", "Organization Viewer").await.id();
        let revision = owner.revision().await;
        owner.post(&format!("{path}?dry_run=true"), items(&[&bob])).await.ok();
        assert_eq!(owner.get(&path).await.ok()["count"], 0);
        owner.post(&path, items(&[&bob, &pending, &bob])).await.ok();
        owner.post(&path, items(&[&bob])).await.ok();
        assert_eq!(owner.revision().await, revision, "gateways see nothing of it");
        let list = owner.get(&format!("{path}?order_by=created_at&page_size=1&page=2")).await;
        assert_eq!(
            (&list.ok()["count"], list.ok()["list"].as_array().unwrap().len()),
            (&json!(2), 1)
        );
        let found = owner.get(&format!("{path}?search=BOB@")).await;
        assert_eq!(found.ok()["count"], 1);
        assert_eq!(found.ok()["list"][0]["member_id"], json!(bob));
        assert_eq!(found.ok()["list"][0]["app_id"], json!(shop));
        assert_eq!(owner.get(&format!("{path}?search=b_b")).await.ok()["count"], 0);
        let (stranger, theirs) = (&server.stranger, "/members");
        let foreign = stranger.get(&stranger.in_org(theirs)).await;
        let foreign = foreign.ok()["list"][0]["id"].as_str().unwrap().to_owned();
        let refused = owner.post(&path, items(&[&bob, &foreign, "7"])).await;
        let message = refused.refused(400, 2);
        assert!(message.contains("`items[1].member_id`"), "{message}");
        assert!(message.contains("`items[2].member_id`"), "{message}");
        owner.post(&path, items(&[])).await.refused(400, 2);
        owner.post(&path, items(&vec!["7"; 65])).await.refused(400, 2);
    })
    .await;
}

#[tokio::test]
async fn entries_take_effect_on_acceptance_and_end_with_the_member() {
    on_both(|server| async move {
        let (owner, stranger) = (&server.owner, &server.stranger);
        let shop = owner.application("shop").await;
        let path = format!("/apps/{shop}/service_admins");
        let invited = owner.invite("stranger@example.com", "Organization Viewer").await.id();
        owner.bind(&invited, &[]).await;
        owner.post(&path, items(&[&invited])).await.ok();
        let app = owner.in_cluster(&format!("/apps/{shop}"));
        stranger.get(&app).await.refused(404, 4);
        let org = &owner.org;
        let accept = format!("/user/accept_invitation?email=stranger@example.com&org_id={org}");
        stranger.get(&accept).await.ok();
        assert_eq!(stranger.get(&app).await.ok()["name"], "shop");
        owner.delete(&owner.in_org(&format!("/members/{invited}"))).await.ok();
        assert_eq!(owner.get(&path).await.ok()["count"], 0);
        stranger.get(&app).await.refused(404, 4);
    })
    .await;
}
