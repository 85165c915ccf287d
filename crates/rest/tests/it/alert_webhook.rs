//! Webhooks of alert policies: their secrets, their addresses and their templates.

use gantry_app::audit;
use serde_json::{Value, json};

use crate::alert_policy::alert_policy;
use crate::harness::on_both;

/// A webhook with a secret in a header.
pub fn webhook(name: &str) -> Value {
    json!({
        "name": name, "url": "http://127.0.0.1:9/hook", "skip_tls_verify": false,
        "headers": [{ "name": "Authorization", "value": "Bearer hush" }],
        "template": "{{.Title}}: {{range .AlertEvents}}{{.Summary}} {{end}}",
    })
}

#[tokio::test]
async fn a_webhook_lives_and_never_shows_its_headers() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        let shown = owner.get(&path).await;
        assert!(!shown.body.to_string().contains("hush"), "{}", shown.body);
        let own = shown.ok()["webhooks"][0].clone();
        assert_eq!(own["headers"], json!([{ "name": "Authorization", "value": "******" }]));
        assert_eq!((&own["method"], &own["skip_tls_verify"]), (&json!("POST"), &json!(false)));
        assert_eq!(own["template"], webhook("chat")["template"]);

        // What was read can be written back: ids and times are ignored, the mask keeps the value.
        let one = format!("{path}/webhooks/{hook}");
        let mut whole = own.clone();
        whole["description"] = json!("on call");
        owner.put(&one, whole.clone()).await.ok();
        let written = owner.get(&path).await.ok()["webhooks"][0].clone();
        assert_eq!((&written["description"], &written["id"]), (&json!("on call"), &own["id"]));
        whole["url"] = json!("https://elsewhere.example.com/hook");
        let refused = owner.put(&one, whole.clone()).await;
        let message = refused.refused(400, 2);
        assert!(message.contains("`headers[0].value` must be given again"), "{message}");
        whole["headers"][0]["value"] = json!("Bearer new");
        owner.put(&one, whole).await.ok();

        let taken = owner.post(&format!("{path}/webhooks"), webhook("chat")).await;
        assert!(taken.refused(409, 3).contains("`name` is used by another webhook"));
        owner.post(&format!("{path}/webhooks"), webhook("mail")).await.ok();
        owner.put(&one, webhook("mail")).await.refused(409, 3);
        owner.delete(&one).await.ok();
        owner.delete(&one).await.refused(404, 4);
        owner.put(&one, webhook("chat")).await.refused(404, 4);
        assert_eq!(owner.get(&path).await.ok()["webhooks"][0]["name"], "mail");
        assert!(audit::verify(&server.app).await.unwrap().broken.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_policy_has_at_most_ten_webhooks() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}/webhooks"));
        for number in 2..=10 {
            owner.post(&path, webhook(&format!("hook {number}"))).await.ok();
        }
        let refused = owner.post(&path, webhook("one more")).await;
        assert!(refused.refused(409, 3).contains("at most 10 webhooks"));
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_posted_is_refused_when_it_is_saved() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, _) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}/webhooks"));
        for (field, value, expected) in [
            ("/url", json!("ftp://example.com"), "`url` must start with http:// or https://"),
            ("/url", json!("https://a:b@example.com"), "must not hold a user name or password"),
            ("/url", json!("example.com"), "`url` must be an absolute URL"),
            (
                "/template",
                json!("{{.Title"),
                "`template` is no usable Go template: line 1, column 1",
            ),
            (
                "/template",
                json!("a\n {{.Titel}}"),
                "line 2, column 4: the alert has no field .Titel",
            ),
            (
                "/template",
                json!("{{range .AlertEvents}}{{.Sum}}{{end}}"),
                "an event has no field .Sum",
            ),
            ("/headers/0/name", json!("Host"), "`headers[0].name` is set by the request itself"),
            ("/headers/0/value", json!("a\r\nHost: b"), "`headers[0].value` must consist of"),
            ("/headers/0/value", json!("******"), "`headers[0].value` must be the value itself"),
            ("/method", json!("GET"), "`method` must be one of POST"),
        ] {
            let mut body = webhook("new");
            body["method"] = json!("POST");
            *body.pointer_mut(field).unwrap() = value;
            let refused = owner.post(&path, body).await;
            let message = refused.refused(400, 2);
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("for example"), "{message}");
        }
        let mut twice = webhook("new");
        twice["headers"] = json!([{ "name": "A", "value": "1" }, { "name": "a", "value": "2" }]);
        twice["url"] = json!("file:///etc/passwd");
        let refused = owner.post(&path, twice).await;
        let message = refused.refused(400, 2);
        assert!(message.contains("`url`") && message.contains("`headers[1].name`"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn the_last_webhook_of_an_active_policy_goes_with_a_warning() {
    on_both(|server| async move {
        let owner = &server.owner;
        let (policy, hook) = alert_policy(owner).await;
        let path = owner.in_cluster(&format!("/alert_policies/{policy}"));
        let basics = json!({ "class": "cluster", "source": "gateway", "check_interval": 60,
                             "severity": "medium" });
        owner.put(&path, basics).await.ok();
        let triggers = json!({ "trigger_logical_operator": "All", "trigger_conditions": [
            { "event": "gateway_instance_offline", "operator": "equal", "value": 1,
              "value_unit": "hour" } ] });
        owner.put(&format!("{path}/triggers"), triggers).await.ok();
        owner.patch(&path, json!({ "disabled": false })).await.ok();
        let deleted = owner.delete(&format!("{path}/webhooks/{hook}")).await;
        deleted.ok();
        assert!(deleted.body["warning"].as_str().unwrap().contains("reach nobody"));
        assert_eq!(owner.get(&path).await.ok()["disabled"], false);
    })
    .await;
}
