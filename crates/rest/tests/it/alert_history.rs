//! The history of alerts: kept when its policy goes, forgotten after 30 days.

use gantry_app::{alert_history, housekeeping};
use gantry_model::alert_history::Delivery;
use gantry_model::alert_policy::Severity;
use serde_json::json;

use crate::alert_policy::alert_policy;
use crate::harness::{Server, on_both};

fn sent(policy: &str, webhook: &str, status: u8) -> Delivery {
    Delivery {
        alert_policy_id: policy.parse().unwrap(),
        alert_policy_name: "errors".into(),
        webhook_id: Some("7".parse().unwrap()),
        webhook_name: webhook.into(),
        severity: Severity::High,
        description: "5xx rises".into(),
        status,
        http_request: "POST /hook".into(),
        http_response: "204".into(),
        attempts: Vec::new(),
    }
}

/// Remembers a delivery in the owner's cluster; its id.
pub async fn delivery(server: &Server, policy: &str) -> String {
    let cluster = server.owner.cluster.parse().unwrap();
    let sent = sent(policy, "chat", 1);
    alert_history::record(&server.app, cluster, server.app.now(), &sent).await.unwrap().to_string()
}

#[tokio::test]
async fn the_history_keeps_names_and_is_listed_page_by_page() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let first = delivery(&server, &policy).await;
        let (cluster, now) = (owner.cluster.parse().unwrap(), server.app.now());
        for (seconds, webhook, status) in [(10, "mail", 0), (20, "pager", 1)] {
            let time = now.plus_seconds(seconds);
            let entry = sent(&policy, webhook, status);
            alert_history::record(&server.app, cluster, time, &entry).await.unwrap();
        }
        let all = owner.in_cluster("/alert_policies/histories");
        owner.delete(&owner.in_cluster(&format!("/alert_policies/{policy}"))).await.ok();

        let list = async |query: &str| {
            let answer = owner.get(&format!("{all}?{query}")).await;
            let rows = answer.ok()["list"].as_array().unwrap().clone();
            let names: Vec<String> =
                rows.iter().map(|row| row["webhook_name"].as_str().unwrap().to_owned()).collect();
            (names, answer.ok()["count"].clone())
        };
        assert_eq!(list("").await.0, ["pager", "mail", "chat"]);
        assert_eq!(list("order_by=created_at&direction=asc").await.0, ["chat", "mail", "pager"]);
        assert_eq!(list("page=2&page_size=2").await, (vec!["chat".into()], json!(3)));
        assert_eq!(list("search=PAGER").await, (vec!["pager".into()], json!(1)));
        assert_eq!(list("search=nothing").await.1, 0);

        let entry = owner.get(&format!("{all}/{first}")).await;
        assert_eq!(entry.ok()["alert_policy_id"], policy.as_str());
        for (name, value) in [
            ("alert_policy_name", json!("errors")),
            ("webhook_name", json!("chat")),
            ("webhook_id", json!("7")),
            ("severity", json!("high")),
            ("description", json!("5xx rises")),
            ("status", json!(1)),
            ("http_request", json!("POST /hook")),
            ("http_response", json!("204")),
        ] {
            assert_eq!(entry.ok()[name], value, "{name}");
        }
        assert!((now.seconds() - entry.ok()["create_at"].as_i64().unwrap()).abs() < 60);
        let also = owner.in_cluster(&format!("/alert_histories/{first}"));
        assert_eq!(owner.get(&also).await.ok(), entry.ok());
        owner.get(&format!("{all}/999999999999999999")).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn entries_are_forgotten_after_thirty_days() {
    on_both(|server| async move {
        let owner = &server.owner;
        let cluster = owner.cluster.parse().unwrap();
        for days in [29, 31] {
            let time = server.app.now().plus_seconds(-days * 86_400);
            alert_history::record(&server.app, cluster, time, &sent("7", "chat", 1)).await.unwrap();
        }
        housekeeping::once(&server.app).await.unwrap();
        let left = owner.get(&owner.in_cluster("/alert_policies/histories")).await;
        assert_eq!(left.ok()["count"], 1);
    })
    .await;
}
