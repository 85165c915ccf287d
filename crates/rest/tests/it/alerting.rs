//! Alerts at work, as the management API shows them. What is decided and sent is tested with the use
//! cases.

use gantry_app::alerting;
use gantry_testkit::{Database, Receiver};
use serde_json::{Value, json};

use crate::alert_policy::{alert_policy, basics, triggers};
use crate::alert_webhook::webhook;
use crate::harness::{Server, on_both};

/// Runs a story on both databases, on a server whose webhooks may lead to this machine.
async fn with_receiver<F: Future<Output = ()>>(story: impl Fn(Server, Receiver) -> F) {
    for database in [Database::Sqlite, Database::postgres()] {
        let server = Server::start_with(database, |config| {
            config.alerting.allowed_networks = "127.0.0.1".parse().unwrap();
        });
        story(server.await, Receiver::start().await).await;
    }
}

fn signed(receiver: &Receiver) -> Value {
    let mut body = webhook("chat");
    body["url"] = json!(receiver.url("/hook"));
    body["secret"] = json!("a secret of 24 characters");
    body
}

#[tokio::test]
async fn a_webhook_is_tried_before_it_is_needed() {
    with_receiver(|server, receiver| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}/webhooks/{hook}"));
        owner.put(&path, signed(&receiver)).await.ok();
        let test = format!("{path}/test");
        let dry = owner.post(&format!("{test}?dry_run=true"), json!({})).await;
        assert!(dry.ok()["http_request"].as_str().unwrap().contains("this is a test"));
        assert!(receiver.calls().is_empty());

        let sent = owner.post(&test, json!({})).await;
        assert_eq!(sent.ok()["status"], 1);
        assert_eq!(sent.ok()["http_response"], "HTTP/1.1 204 No Content\n\n");
        let calls = receiver.calls();
        assert_eq!((calls.len(), calls[0].header("authorization")), (1, "Bearer hush"));
        assert!(calls[0].header("webhook-signature").starts_with("v1,"));
        assert_eq!(calls[0].body.matches("this is a test: nothing has happened").count(), 5);
        assert!(!sent.body.to_string().contains("hush"), "{}", sent.body);

        receiver.answer(&[404]);
        let failed = owner.post(&test, json!({})).await;
        assert_eq!(failed.ok()["status"], 0);
        assert!(failed.ok()["http_response"].as_str().unwrap().contains("404 Not Found"));
        let histories = owner.get(&owner.in_cluster("/alert_policies/histories")).await;
        let statuses: Vec<&Value> =
            histories.ok()["list"].as_array().unwrap().iter().map(|one| &one["status"]).collect();
        assert_eq!(statuses, [&json!(0), &json!(1)]);
        let nothing = owner.in_cluster(&format!("/alert_policies/{policy}/webhooks/1/test"));
        owner.post(&nothing, json!({})).await.refused(404, 4);
    })
    .await;
}

#[tokio::test]
async fn an_alert_is_seen_with_its_attempts() {
    with_receiver(|server, receiver| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        owner.put(&format!("{path}/webhooks/{hook}"), signed(&receiver)).await.ok();
        owner.put(&path, basics()).await.ok();
        // The certificate for gateways that is made here is good for 398 days.
        owner.get(&owner.in_cluster("/gateway_certificate")).await.ok();
        let condition = json!({ "trigger_logical_operator": "All", "trigger_conditions": [
            { "event": "control_plane_certificate_will_expire_in", "operator": "less_equal",
              "value": 400, "value_unit": "day" } ] });
        owner.put(&format!("{path}/triggers"), condition).await.ok();
        assert_eq!(owner.get(&path).await.ok()["evaluation"], json!({}));
        let tested = owner.get(&format!("{path}/back_test")).await;
        assert_eq!((&tested.ok()["fired"], &tested.ok()["checks"]), (&json!(1), &json!(21_601)));

        owner.patch(&path, json!({ "disabled": false })).await.ok();
        alerting::check_due(&server.app).await.unwrap();
        let evaluation = owner.get(&path).await.ok()["evaluation"].clone();
        assert_eq!(evaluation["firing_since"], evaluation["checked_at"]);
        let next = evaluation["checked_at"].as_i64().unwrap() + 60;
        assert_eq!(evaluation["next_check_at"], next);
        let entry = async || {
            let all = owner.get(&owner.in_cluster("/alert_policies/histories")).await;
            assert_eq!(all.ok()["count"], 1);
            all.ok()["list"][0].clone()
        };
        let waiting = entry().await;
        assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!(0), &json!([])));
        assert_eq!(waiting["next_attempt_at"], waiting["create_at"]);
        receiver.answer(&[503]);
        alerting::deliver_due(&server.app).await.unwrap();
        let failed = entry().await;
        assert_eq!(failed["attempts"][0]["outcome"], "503 Service Unavailable");
        let pause = failed["next_attempt_at"].as_i64().unwrap()
            - failed["attempts"][0]["at"].as_i64().unwrap();
        assert_eq!((pause, &failed["status"]), (5, &json!(0)));
    })
    .await;
}

#[tokio::test]
async fn a_back_test_needs_triggers() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        let refused = owner.get(&format!("{path}/back_test")).await;
        assert!(refused.refused(409, 3).contains("needs basic information"));
        owner.put(&path, basics()).await.ok();
        owner.put(&format!("{path}/triggers"), triggers()).await.ok();
        let tested = owner.get(&format!("{path}/back_test")).await;
        assert_eq!((&tested.ok()["fired"], &tested.ok()["times"]), (&json!(0), &json!([])));
    })
    .await;
}

#[tokio::test]
async fn secrets_are_masked_and_kept_and_checked() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        let one = format!("{path}/webhooks/{hook}");
        for (secret, expected) in [
            ("too short", "`secret` must be at least 16 characters long"),
            ("whsec_no base64 at all", "`secret` must have base64 behind `whsec_`"),
            ("******", "`secret` must be the value itself"),
        ] {
            let mut body = webhook("chat");
            body["secret"] = json!(secret);
            let refused = owner.put(&one, body).await;
            assert!(refused.refused(400, 2).contains(expected), "{}", refused.body);
        }
        let mut body = webhook("chat");
        body["secret"] = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        owner.put(&one, body).await.ok();
        let shown = owner.get(&path).await.ok()["webhooks"][0].clone();
        assert_eq!(shown["secret"], "******");
        owner.put(&one, shown).await.ok();
        let mut reserved = webhook("other");
        reserved["headers"][0]["name"] = json!("Webhook-Id");
        let refused = owner.post(&format!("{path}/webhooks"), reserved).await;
        assert!(refused.refused(400, 2).contains("is set by the request itself"));
    })
    .await;
}

#[tokio::test]
async fn addresses_are_told_once_and_need_a_mail_server() {
    on_both(|server| async move {
        let owner = &server.owner;
        let policy = owner.post(&owner.in_cluster("/alert_policies"), json!({ "name": "a" })).await;
        let path = owner.in_cluster(&format!("/alert_policies/{}", policy.id()));
        let mut info = basics();
        info["emails"] = json!(["a@example.com", "A@example.com"]);
        let refused = owner.put(&path, info.clone()).await;
        assert!(refused.refused(400, 2).contains("`emails[1]` stands in the list twice"));
        info["emails"] = json!(["a@example.com"]);
        info["suppress_repeats"] = json!(true);
        let written = owner.put(&path, info.clone()).await;
        written.ok();
        assert!(written.body["warning"].as_str().unwrap().contains("no mail server is named"));
        owner.put(&format!("{path}/triggers"), triggers()).await.ok();
        // A receiver is a receiver, webhook or not.
        owner.patch(&path, json!({ "disabled": false })).await.ok();
        let shown = owner.get(&path).await.ok().clone();
        assert_eq!(shown["emails"], info["emails"]);
        assert_eq!((&shown["suppress_repeats"], &shown["disabled"]), (&json!(true), &json!(false)));
    })
    .await;
}
