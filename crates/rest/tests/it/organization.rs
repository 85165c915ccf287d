//! The end of an organization.

use gantry_app::billing::Plans;
use gantry_app::{Config, audit};
use gantry_testkit::Database;
use serde_json::json;

use crate::harness::{Server, api, certificate, on_both};

/// Fills the owner's cluster, with references between what is in it.
async fn fill(server: &Server) {
    let owner = &server.owner;
    let mut tls = certificate("client.example.com");
    tls["type"] = json!("Client");
    let tls = owner.post(&owner.in_cluster("/certificates"), tls).await.id();
    let mut shop = crate::harness::application("shop");
    shop["upstreams"][0]["upstream"]["scheme"] = json!("https");
    shop["upstreams"][0]["client_cert_id"] = json!(tls);
    let shop = owner.post(&owner.in_cluster("/apps"), shop).await.id();
    owner.post(&format!("/apps/{shop}/apis"), api("cart")).await.ok();
    let (_, bob) = server.member("bob@example.com", "Organization Viewer").await;
    owner.bind(&bob, &[("Cluster Viewer", Some(&owner.cluster))]).await;
    let items = json!({ "items": [{ "member_id": bob }] });
    owner.post(&format!("/apps/{shop}/service_admins"), items).await.ok();
}

#[tokio::test]
async fn an_organization_goes_with_everything_below_and_leaves_its_audit() {
    on_both(|server| async move {
        fill(&server).await;
        let owner = &server.owner;
        let (admin, _) = server.member("admin@example.com", "Organization Admin").await;
        let refused = admin.delete(&owner.in_org("")).await;
        assert!(refused.refused(403, 5).contains("`organization.organization.delete`"));
        owner.delete(&owner.in_org("?dry_run=true")).await.ok();
        owner.get(&owner.in_cluster("/apps")).await.ok();
        let before = audit::verify(&server.app).await.unwrap();
        owner.delete(&owner.in_org("")).await.ok();
        owner.delete(&owner.in_org("")).await.refused(404, 4);
        owner.get(&owner.in_cluster("/apps")).await.refused(404, 4);
        let orgs = owner.get("/user/me").await.ok()["org_ids"].clone();
        assert!(!orgs.as_array().unwrap().contains(&json!(owner.org)), "{orgs}");
        let after = audit::verify(&server.app).await.unwrap();
        assert_eq!(after.broken, Vec::<String>::new());
        assert_eq!(after.entries, before.entries + 2, "the cluster and the organization");
    })
    .await;
}

#[tokio::test]
async fn online_gateways_keep_an_organization_unless_forced() {
    on_both(|server| async move {
        let owner = &server.owner;
        crate::heartbeat::report_as_gateway(&server).await;
        let refused = owner.delete(&owner.in_org("")).await;
        assert!(refused.refused(409, 7).contains("force=true"));
        owner.get(&owner.in_org("")).await.ok();
        owner.delete(&owner.in_org("?force=true")).await.ok();
        owner.get(&owner.in_org("")).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn a_plan_that_is_paid_keeps_an_organization_unless_forced_and_counts_members() {
    let plans = "plans:\n- {id: 1, name: Free, quotas: {members: 2}}\n\
                 - {id: 2, name: Basic, price_per_million_calls: 150}";
    for database in [Database::Sqlite, Database::postgres()] {
        let set = |config: &mut Config| config.plans = Plans::parse(plans).unwrap();
        let server = Server::start_with(database, set).await;
        let owner = &server.owner;
        owner.invite("alice@example.com", "Organization Viewer").await.ok();
        let third = owner.invite("bob@example.com", "Organization Viewer").await;
        assert!(third.refused(403, 8).contains("`members`"));
        owner.post(&owner.in_org("/subscriptions"), json!({ "plan": "Basic" })).await.ok();
        owner.invite("bob@example.com", "Organization Viewer").await.ok();
        let refused = owner.delete(&owner.in_org("")).await;
        assert!(refused.refused(409, 7).contains("`Basic`"));
        owner.delete(&owner.in_org("?force=true")).await.ok();
    }
}
