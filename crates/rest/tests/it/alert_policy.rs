//! The life of an alert policy: made, completed step by step, switched on, deleted.

use serde_json::{Value, json};

use crate::alert_webhook::webhook;
use crate::harness::{Person, on_both};

/// Creates a policy with one webhook; their ids.
pub async fn alert_policy(person: &Person) -> (String, String) {
    let all = person.in_cluster("/alert_policies");
    let policy = person.post(&all, json!({ "name": "errors" })).await.id();
    let path = format!("{all}/{policy}");
    person.post(&format!("{path}/webhooks"), webhook("chat")).await.ok();
    let webhook = person.get(&path).await.ok()["webhooks"][0]["id"].as_str().unwrap().to_owned();
    (policy, webhook)
}

pub fn basics() -> Value {
    json!({ "title": "Gateway in trouble", "detail": "see the runbook", "description": "new",
            "class": "cluster", "source": "gateway", "check_interval": 60, "severity": "high" })
}

pub fn triggers() -> Value {
    json!({ "trigger_logical_operator": "Any", "trigger_conditions": [
        { "event": "ratio_of_status_code", "operator": "larger_than", "value": 5, "event_config": {
            "http_status_code": "5xx", "duration": 10, "unit": "minute" } },
        { "event": "number_of_status_code", "operator": "larger_equal", "value": 100,
          "event_config": { "http_status_code": "404", "duration": 1, "unit": "hour" } },
        { "event": "control_plane_certificate_will_expire_in", "operator": "less_equal",
          "value": 30, "value_unit": "day" },
        { "event": "gateway_certificate_will_expire_in", "operator": "less_than",
          "value": 7, "value_unit": "day" },
        { "event": "gateway_instance_offline", "operator": "larger_equal", "value": 5,
          "value_unit": "minute" },
    ] })
}

#[tokio::test]
async fn a_policy_is_completed_step_by_step_and_then_switched_on() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/alert_policies");
        let revision = owner.revision().await;
        let created = owner.post(&all, json!({ "name": "errors", "description": "old" })).await;
        assert_eq!(created.ok()["disabled"], true);
        assert_eq!(created.ok()["webhooks"], json!([]));
        assert!(created.ok()["create_at"].as_i64().unwrap() > 1_600_000_000);
        let path = format!("{all}/{}", created.id());

        let on = json!({ "disabled": false });
        let refused = owner.patch(&path, on.clone()).await;
        let message = refused.refused(400, 2);
        for part in ["`disabled`", "basic information", "triggers", "a webhook"] {
            assert!(message.contains(part), "{part}: {message}");
        }
        owner.put(&path, basics()).await.ok();
        owner.put(&format!("{path}/triggers"), triggers()).await.ok();
        let refused = owner.patch(&path, on.clone()).await;
        assert!(refused.refused(400, 2).contains("still needs a webhook"));
        owner.post(&format!("{path}/webhooks"), webhook("chat")).await.ok();
        owner.patch(&path, on).await.ok();

        let shown = owner.get(&path).await.ok().clone();
        assert_eq!(shown["disabled"], false);
        for (name, value) in basics().as_object().unwrap() {
            assert_eq!(shown[name], *value, "{name}");
        }
        for (name, value) in triggers().as_object().unwrap() {
            assert_eq!(shown[name], *value, "{name}");
        }
        assert_eq!(shown["webhooks"][0]["name"], "chat");
        owner.patch(&path, json!({ "disabled": true })).await.ok();
        assert_eq!(owner.get(&path).await.ok()["disabled"], true);

        // Gateways see nothing of this.
        assert_eq!(owner.revision().await, revision);
        owner.delete(&path).await.ok();
        owner.get(&path).await.refused(404, 4);
        owner.delete(&path).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn a_step_replaces_its_part_as_a_whole() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        owner.put(&path, basics()).await.ok();
        let least = json!({ "class": "cluster", "source": "gateway", "check_interval": 86400,
                            "severity": "low" });
        owner.put(&format!("{path}/basic_info"), least).await.ok();
        let shown = owner.get(&path).await.ok().clone();
        assert_eq!((&shown["severity"], &shown["check_interval"]), (&json!("low"), &json!(86400)));
        for gone in ["title", "detail", "description"] {
            assert!(shown.get(gone).is_none(), "{gone}: {shown}");
        }
        owner.post(&format!("{path}/triggers"), triggers()).await.ok();
        let mut one = triggers();
        one["trigger_conditions"].as_array_mut().unwrap().truncate(1);
        owner.put(&format!("{path}/triggers"), one.clone()).await.ok();
        let shown = owner.get(&path).await.ok().clone();
        assert_eq!(shown["trigger_conditions"], one["trigger_conditions"]);
        assert_eq!(shown["name"], "errors");

        owner.patch(&path, json!({})).await.ok();
        assert_eq!(owner.get(&path).await.ok()["disabled"], true);
        for part in ["", "/disabled"] {
            owner.patch(&format!("{path}{part}"), json!({ "disabled": false })).await.ok();
            owner.put(&format!("{path}/disabled"), json!({ "disabled": true })).await.ok();
        }
    })
    .await;
}

#[tokio::test]
async fn wrong_conditions_are_told_by_field_and_rule() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}/triggers"));
        for (condition, field, value, expected) in [
            (
                0,
                "/event",
                json!("latency"),
                "`trigger_conditions[0].event` must be one of number_of",
            ),
            (0, "/value", json!(101), "`trigger_conditions[0].value` is a percentage"),
            (0, "/operator", json!("equal"), "must be one of larger_equal, larger_than"),
            (0, "/event_config/http_status_code", json!("600"), "must match the pattern"),
            (0, "/event_config/http_status_code", json!("1502"), "from 200 to 599"),
            (0, "/event_config/unit", json!("week"), "`trigger_conditions[0].event_config.unit`"),
            (0, "/event_config/duration", json!(0), "must be at least 1"),
            (1, "/value", json!(-1), "`trigger_conditions[1].value` must be at least 0"),
            (
                2,
                "/value_unit",
                json!("hour"),
                "`trigger_conditions[2].value_unit` must be one of day",
            ),
            (2, "/operator", json!("larger_than"), "must be one of less_equal, less_than"),
            (3, "/value", json!(-7), "`trigger_conditions[3].value` must be 0 to"),
            (4, "/value", json!(0), "`trigger_conditions[4].value` must be 1 to"),
        ] {
            let mut body = triggers();
            *body["trigger_conditions"][condition].pointer_mut(field).unwrap() = value;
            let refused = owner.put(&path, body).await;
            let message = refused.refused(400, 2);
            assert!(message.contains(expected), "{field}: {message}");
            assert!(message.contains("for example"), "{message}");
        }
        let vain = json!({ "trigger_logical_operator": "All", "trigger_conditions": [
            { "event": "gateway_instance_offline", "operator": "larger_than", "value": 1,
              "value_unit": "month" } ] });
        let answer = owner.put(&path, vain).await;
        answer.ok();
        assert!(answer.body["warning"].as_str().unwrap().contains("can never hold"));
    })
    .await;
}

#[tokio::test]
async fn policies_are_listed_searched_and_named_once() {
    on_both(|server| async move {
        let owner = &server.owner;
        let all = owner.in_cluster("/alert_policies");
        for name in ["carrot", "apple", "banana"] {
            let body = json!({ "name": name, "description": format!("about {name}s, 50%") });
            owner.post(&all, body).await.ok();
        }
        let taken = owner.post(&all, json!({ "name": "apple" })).await;
        assert!(taken.refused(409, 3).contains("`name` is used by another alert policy"));
        owner.post(&all, json!({ "name": "Apple" })).await.ok();
        let stranger = &server.stranger;
        stranger
            .post(&stranger.in_cluster("/alert_policies"), json!({ "name": "apple" }))
            .await
            .ok();

        let list = async |query: &str| owner.get(&format!("{all}?{query}")).await;
        let names = list("order_by=created_at&direction=asc").await.names();
        assert_eq!(names, ["carrot", "apple", "banana", "Apple"]);
        let second = list("page=2&page_size=3&order_by=created_at&direction=ASC").await;
        assert_eq!((second.names(), &second.ok()["count"]), (vec!["Apple".into()], &json!(4)));
        assert_eq!(list("search=ABOUT%20B").await.names(), ["banana"]);
        assert_eq!(list("search=50%25").await.ok()["count"], 3);
        assert_eq!(list("search=_").await.ok()["count"], 0);
        list("order_by=name").await.refused(400, 2);

        let carrot = list("search=carrot").await.ok()["list"][0]["id"].as_str().unwrap().to_owned();
        owner.post(&format!("{all}/{carrot}/webhooks"), webhook("chat")).await.ok();
        let newest = list("").await;
        assert_eq!(newest.names()[0], "carrot");
        assert_eq!(newest.ok()["list"][0]["webhooks"][0]["name"], "chat");
        assert_eq!(newest.ok()["list"][1]["webhooks"], json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_checks_everything_and_leaves_nothing() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let all = owner.in_cluster("/alert_policies");
        let path = format!("{all}/{policy}");
        let before = owner.get(&all).await.body;
        owner.post(&format!("{all}?dry_run=true"), json!({ "name": "new" })).await.ok();
        owner
            .post(&format!("{all}?dry_run=true"), json!({ "name": "errors" }))
            .await
            .refused(409, 3);
        owner.put(&format!("{path}?dry_run=true"), basics()).await.ok();
        owner.put(&format!("{path}/triggers?dry_run=true"), triggers()).await.ok();
        owner.post(&format!("{path}/webhooks?dry_run=true"), webhook("mail")).await.ok();
        owner.put(&format!("{path}/webhooks/{hook}?dry_run=true"), webhook("mail")).await.ok();
        owner.delete(&format!("{path}/webhooks/{hook}?dry_run=true")).await.ok();
        owner
            .patch(&format!("{path}?dry_run=true"), json!({ "disabled": false }))
            .await
            .refused(400, 2);
        owner.delete(&format!("{path}?dry_run=true")).await.ok();
        assert_eq!(owner.get(&all).await.body, before);
    })
    .await;
}
