//! Alerts at work: real conditions, checked on a clock that is turned, delivered to a real receiver.

use std::collections::BTreeSet;

use gantry_app::gateway::{self, Identity};
use gantry_app::{Config, Cx, alert_history, alert_policy, alert_webhook, alerting};
use gantry_app::{certificate, metrics};
use gantry_model::alert_history::AlertHistory;
use gantry_model::page::PAGE_SIZE_MAX;
use gantry_model::{Id, ListQuery};
use gantry_testkit::database::Database;
use gantry_testkit::{MailServer, Receiver};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use crate::harness::{self, Bench, on_both_engines, parse};

on_both_engines! {
    every_event_is_told_once_an_interval
    of_many_servers_one_decides
    what_was_decided_is_delivered_after_a_crash
    an_attempt_that_broke_off_is_repeated_with_its_id
    failures_are_tried_again_with_longer_pauses
    a_policy_is_told_once_if_it_wants_to
    mails_are_a_second_channel
    what_cannot_be_sent_is_said
    a_past_is_judged_like_the_present
}

fn to_localhost(config: &mut Config) {
    config.alerting.allowed_networks = "127.0.0.1".parse().unwrap();
}

/// A control plane with a receiver, and a gateway that has joined.
struct Story {
    bench: Bench,
    receiver: Receiver,
    gateway: Identity,
}

impl Story {
    async fn new(database: Database) -> Self {
        Self::with(database, to_localhost).await
    }

    async fn with(database: Database, set: impl FnOnce(&mut Config)) -> Self {
        gantry_testkit::client::use_ring();
        let bench = Bench::with(database, set).await;
        let bundle = gateway::issue_certificate(&bench.cx, bench.cluster()).await.unwrap();
        let der = CertificateDer::from_pem_slice(bundle.certificate.as_bytes()).unwrap();
        let gateway = gateway::identify_certificate(&bench.app, &der).await.unwrap();
        let story = Self { bench, receiver: Receiver::start().await, gateway };
        story.beat().await;
        story
    }

    async fn beat(&self) {
        let report = json!({ "id": "gw-1", "hostname": "edge", "ip": "10.0.0.1" });
        harness::beat(&self.bench.app, &self.gateway, "run", report).await;
    }

    /// The gateway reports how many answers it has given since it started.
    async fn report(&self, good: u32, bad: u32) {
        let mut text = "apisix_nginx_http_current_connections{state=\"active\"} 1\n".to_owned();
        if good + bad > 0 {
            text += &format!("apisix_http_status{{code=\"200\",route=\"1\"}} {good}\n");
            text += &format!("apisix_http_status{{code=\"502\",route=\"1\"}} {bad}\n");
        }
        let report = parse(json!({ "id": "gw-1", "metrics": text }));
        metrics::report(&self.bench.app, &self.gateway, "run".into(), report).await.unwrap();
    }

    fn turn(&self, seconds: i64) {
        self.bench.config.clock.turn(seconds);
    }

    /// A policy with these conditions that posts to the receiver and is on.
    async fn policy(&self, name: &str, operator: &str, conditions: Value) -> Id {
        let id = self.policy_without_receivers(name, operator, conditions, json!({})).await;
        self.webhook(id, &self.receiver.url("/hook")).await;
        self.switch(id, true).await;
        id
    }

    async fn policy_without_receivers(
        &self,
        name: &str,
        operator: &str,
        conditions: Value,
        basics: Value,
    ) -> Id {
        policy(&self.bench, name, operator, conditions, basics).await
    }

    async fn webhook(&self, policy: Id, url: &str) {
        let spec = json!({ "name": "chat", "url": url, "skip_tls_verify": false,
            "template": r#"{"title": "{{.Title}}", "events": [{{range $name, $event := .AlertEvents}}"{{$name}}: {{$event.Summary}}"{{end}}]}"# });
        let (cx, cluster) = (&self.bench.cx, self.bench.cluster());
        alert_webhook::add(cx, cluster, policy, parse(spec)).await.unwrap();
    }

    async fn switch(&self, policy: Id, on: bool) {
        let (cx, cluster) = (&self.bench.cx, self.bench.cluster());
        alert_policy::set_disabled(cx, cluster, policy, Some(!on)).await.unwrap();
    }

    async fn history(&self) -> Vec<AlertHistory> {
        history(&self.bench.cx, self.bench.cluster()).await
    }

    /// Checks and delivers whatever is due.
    async fn work(&self) {
        alerting::check_due(&self.bench.app).await.unwrap();
        alerting::deliver_due(&self.bench.app).await.unwrap();
    }
}

/// A policy that is off and tells nobody.
pub async fn policy(
    bench: &Bench,
    name: &str,
    operator: &str,
    conditions: Value,
    basics: Value,
) -> Id {
    let (cx, cluster) = (&bench.cx, bench.cluster());
    let created = alert_policy::create(cx, cluster, parse(json!({ "name": name }))).await;
    let id = created.unwrap().value.id;
    let mut info = json!({ "title": name, "class": "cluster", "source": "gateway",
        "check_interval": 60, "severity": "high", "description": "see the runbook" });
    info.as_object_mut().unwrap().extend(basics.as_object().unwrap().clone());
    alert_policy::set_basic_info(cx, cluster, id, parse(info)).await.unwrap();
    let triggers = json!({ "trigger_logical_operator": operator,
                           "trigger_conditions": conditions });
    alert_policy::set_triggers(cx, cluster, id, parse(triggers)).await.unwrap();
    id
}

/// Newest first.
pub async fn history(cx: &Cx, cluster: Id) -> Vec<AlertHistory> {
    let all = ListQuery { page_size: PAGE_SIZE_MAX, ..ListQuery::default() };
    alert_history::list(cx, cluster, &all).await.unwrap().list
}

pub fn status(event: &str, operator: &str, value: i64) -> Value {
    json!({ "event": event, "operator": operator, "value": value, "event_config": {
        "http_status_code": "5xx", "duration": 5, "unit": "minute" } })
}

pub fn limit(event: &str, operator: &str, value: i64, unit: &str) -> Value {
    json!({ "event": event, "operator": operator, "value": value, "value_unit": unit })
}

fn offline() -> Value {
    json!([limit("gateway_instance_offline", "larger_equal", 1, "hour")])
}

const DAY: i64 = 86_400;

async fn every_event_is_told_once_an_interval(database: Database) {
    let story = Story::new(database).await;
    for condition in [
        status("number_of_status_code", "larger_than", 19),
        status("ratio_of_status_code", "larger_equal", 50),
        limit("control_plane_certificate_will_expire_in", "less_equal", 396, "day"),
        limit("gateway_certificate_will_expire_in", "less_than", 7, "day"),
        limit("gateway_instance_offline", "larger_equal", 1, "day"),
    ] {
        let name = condition["event"].as_str().unwrap().to_owned();
        story.policy(&name, "Any", json!([condition])).await;
    }
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(["shop.example.com".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2027, 1, 23);
    let pem = params.self_signed(&key).unwrap().pem();
    let spec = json!({ "certificate": pem, "private_key": key.serialize_pem() });
    certificate::create(&story.bench.cx, story.bench.cluster(), parse(spec)).await.unwrap();
    story.report(0, 0).await;
    story.work().await;
    assert_eq!(story.history().await.len(), 0, "all is well");

    story.turn(DAY);
    story.report(0, 0).await;
    story.turn(15);
    story.report(20, 20).await;
    story.work().await;
    story.work().await;
    let calls = story.receiver.calls();
    let told: BTreeSet<String> =
        calls.iter().map(|call| call.json()["events"][0].as_str().unwrap().to_owned()).collect();
    let mut told = told.into_iter();
    for expected in [
        "control_plane_certificate_will_expire_in: the certificate by which gateways join ",
        "gateway_certificate_will_expire_in: the certificate of shop.example.com ends in 6 days, on \
         2027-01-23; the alert is for less than 7 days",
        "gateway_instance_offline: the gateway instance edge (gw-1) has not been heard of for 1 day; \
         the alert is for at least 1 day",
        "number_of_status_code: 20 answers with status 5xx in the last 5 minutes; the alert is for \
         more than 19 answers",
        "ratio_of_status_code: 50.0 percent of 40 answers in the last 5 minutes had status 5xx; the \
         alert is for at least 50 percent",
    ] {
        let event = told.next().unwrap_or_default();
        assert!(event.starts_with(expected), "{event}");
    }
    let history = story.history().await;
    assert_eq!((calls.len(), history.len()), (5, 5), "once in an interval");
    let ids = |calls: &[gantry_testkit::receiver::Call]| {
        calls.iter().map(|call| call.id().to_owned()).collect::<BTreeSet<_>>()
    };
    let entries: BTreeSet<String> = history.iter().map(|entry| entry.id.to_string()).collect();
    assert_eq!(ids(&calls), entries);
    for entry in &history {
        assert_eq!((entry.delivery.status, entry.next_attempt_at), (1, None));
        assert_eq!(entry.delivery.attempts.len(), 1);
        assert_eq!(entry.delivery.attempts[0].outcome, "204 No Content");
        assert!(entry.delivery.http_request.contains("\"title\": "), "{:?}", entry.delivery);
    }

    story.turn(59);
    story.work().await;
    assert_eq!(story.receiver.calls().len(), 5);
    story.turn(1);
    story.work().await;
    assert_eq!(story.receiver.calls().len(), 10, "and again in the next one");
    // The storm is over, the gateway is back.
    story.turn(600);
    story.beat().await;
    story.work().await;
    assert_eq!(story.receiver.calls().len(), 12);
    assert_eq!(ids(&story.receiver.calls()).len(), 12);
}

async fn of_many_servers_one_decides(database: Database) {
    let story = Story::new(database).await;
    let another = story.bench.another().await;
    story.turn(3600);
    for number in 0..5 {
        story.policy(&format!("policy {number}"), "All", offline()).await;
    }
    for round in 1..=3 {
        let servers = [&story.bench.app, &another];
        let checks = (0..8).map(|number| alerting::check_due(servers[number % 2]));
        for outcome in futures::future::join_all(checks).await {
            outcome.unwrap();
        }
        assert_eq!(story.history().await.len(), 5 * round, "each was decided once");
        let deliveries = (0..8).map(|number| alerting::deliver_due(servers[number % 2]));
        for outcome in futures::future::join_all(deliveries).await {
            outcome.unwrap();
        }
        assert_eq!(story.receiver.calls().len(), 5 * round, "each was sent once");
        story.turn(60);
    }
}

async fn what_was_decided_is_delivered_after_a_crash(database: Database) {
    let story = Story::new(database).await;
    story.turn(3600);
    story.policy("offline", "All", offline()).await;
    alerting::check_due(&story.bench.app).await.unwrap();
    // Nothing of the first server is left but the database.
    let another = story.bench.another().await;
    alerting::check_due(&another).await.unwrap();
    let decided = story.history().await;
    assert_eq!(decided.len(), 1);
    assert_eq!((decided[0].delivery.status, decided[0].delivery.attempts.len()), (0, 0));
    assert!(decided[0].next_attempt_at.is_some());
    alerting::deliver_due(&another).await.unwrap();
    alerting::deliver_due(&story.bench.app).await.unwrap();
    let calls = story.receiver.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].id(), decided[0].id.to_string());
    assert_eq!(story.history().await[0].delivery.status, 1);
}

async fn an_attempt_that_broke_off_is_repeated_with_its_id(database: Database) {
    let story = Story::new(database).await;
    story.turn(3600);
    story.policy("offline", "All", offline()).await;
    alerting::check_due(&story.bench.app).await.unwrap();
    story.receiver.hold(true);
    let doomed = story.bench.another().await;
    let server = tokio::runtime::Runtime::new().unwrap();
    server.spawn(async move { alerting::deliver_due(&doomed).await });
    story.receiver.first(1).await;
    // Whatever it was doing has ended with it.
    tokio::task::spawn_blocking(move || drop(server)).await.unwrap();
    story.receiver.hold(false);
    let another = story.bench.another().await;
    alerting::deliver_due(&another).await.unwrap();
    assert_eq!(story.receiver.calls().len(), 1, "the dead server's claim still stands");
    assert_eq!(story.history().await[0].delivery.status, 0);
    story.turn(20);
    alerting::deliver_due(&another).await.unwrap();
    alerting::deliver_due(&another).await.unwrap();
    let calls = story.receiver.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[0].id(), calls[1].id());
    let history = story.history().await;
    assert_eq!((history.len(), history[0].delivery.status), (1, 1));
}

async fn failures_are_tried_again_with_longer_pauses(database: Database) {
    let story = Story::new(database).await;
    story.turn(3600);
    let policy = story.policy("offline", "All", offline()).await;
    story.receiver.answer(&[500, 503, 429, 502, 500, 500, 404]);
    story.work().await;
    story.switch(policy, false).await;
    let mut due = BTreeSet::new();
    for _ in 0..6 {
        let entry = story.history().await.remove(0);
        assert_eq!(entry.delivery.status, 0);
        let Some(next) = entry.next_attempt_at else { break };
        let pause = next - story.bench.app.now().seconds();
        assert!(due.insert(pause), "pauses grow: {due:?} {pause}");
        assert_eq!(due.last(), Some(&pause));
        story.turn(pause - 1);
        story.work().await;
        assert_eq!(story.history().await[0].next_attempt_at, Some(next), "not before its time");
        story.turn(1);
        story.work().await;
    }
    let history = story.history().await;
    let entry = &history[0];
    assert_eq!((history.len(), entry.delivery.status, entry.next_attempt_at), (1, 0, None));
    let outcomes: Vec<&str> = entry.delivery.attempts.iter().map(|one| &one.outcome[..3]).collect();
    assert_eq!(outcomes, ["500", "503", "429", "502", "500", "500"]);
    let ids: BTreeSet<String> =
        story.receiver.calls().iter().map(|call| call.id().to_owned()).collect();
    assert_eq!(ids.len(), 1, "every attempt is of one alert");

    story.switch(policy, true).await;
    story.work().await;
    let entry = story.history().await.remove(0);
    assert_eq!((entry.delivery.status, entry.next_attempt_at), (0, None), "404 is final");
}

async fn a_policy_is_told_once_if_it_wants_to(database: Database) {
    let story = Story::new(database).await;
    story.turn(3600);
    let basics = json!({ "suppress_repeats": true });
    let id = story.policy_without_receivers("quiet", "Any", offline(), basics).await;
    story.webhook(id, &story.receiver.url("/")).await;
    story.switch(id, true).await;
    let policy =
        async || alert_policy::get(&story.bench.cx, story.bench.cluster(), id).await.unwrap();
    let since = story.bench.app.now().seconds();
    for _ in 0..3 {
        story.work().await;
        assert_eq!(policy().await.evaluation.firing_since, Some(since));
        story.turn(60);
    }
    assert_eq!(story.receiver.calls().len(), 1);
    story.beat().await;
    story.work().await;
    let evaluation = policy().await.evaluation;
    assert_eq!((evaluation.firing_since, evaluation.problem), (None, None));
    assert_eq!(evaluation.checked_at, Some(since + 180));
    assert_eq!(evaluation.next_check_at, Some(since + 240));
    story.turn(3600);
    story.work().await;
    assert_eq!(story.receiver.calls().len(), 2, "it began anew");
    story.switch(id, false).await;
    story.turn(60);
    story.work().await;
    let evaluation = policy().await.evaluation;
    assert_eq!((evaluation.firing_since, evaluation.next_check_at), (None, None));
    assert_eq!(story.receiver.calls().len(), 2);
}

async fn mails_are_a_second_channel(database: Database) {
    let server = MailServer::start().await;
    let smtp = gantry_app::mail::Smtp {
        host: server.address.ip().to_string(),
        port: server.address.port(),
        login: None,
        from: "gantry@example.com".into(),
        tls: gantry_app::mail::SmtpTls::None,
    };
    let story = Story::with(database, |config| config.smtp = Some(smtp)).await;
    story.turn(3600);
    let basics = json!({ "emails": ["ops@example.com", "refused@example.com"], "detail": "Hurry" });
    let id = story.policy_without_receivers("offline", "Any", offline(), basics).await;
    story.switch(id, true).await;
    story.work().await;
    let received = server.received();
    assert_eq!((received.len(), received[0].to.as_str()), (1, "ops@example.com"));
    for part in ["Subject: [high] offline", "edge (gw-1) has not been heard of", "Hurry"] {
        assert!(received[0].text.contains(part), "{part}: {}", received[0].text);
    }
    let history = story.history().await;
    let of = |name: &str| history.iter().find(|one| one.delivery.webhook_name == name).unwrap();
    assert_eq!((of("ops@example.com").delivery.status, history.len()), (1, 2));
    assert_eq!(of("ops@example.com").delivery.webhook_id, None);
    let refused = of("refused@example.com");
    assert_eq!(refused.delivery.status, 0);
    assert!(refused.delivery.http_response.contains("No such mailbox"), "{refused:?}");
    assert!(refused.next_attempt_at.is_some());
}

async fn what_cannot_be_sent_is_said(database: Database) {
    let story = Story::with(database, |_| {}).await;
    story.turn(3600);
    story.policy("inside", "Any", offline()).await;
    let basics = json!({ "emails": ["ops@example.com"] });
    let mailed = story.policy_without_receivers("mailed", "Any", offline(), basics).await;
    story.switch(mailed, true).await;
    let gone = story.policy("gone", "Any", offline()).await;
    alerting::check_due(&story.bench.app).await.unwrap();
    let (cx, cluster) = (&story.bench.cx, story.bench.cluster());
    let webhook = alert_policy::get(cx, cluster, gone).await.unwrap().webhooks[0].id;
    alert_webhook::delete(cx, cluster, gone, webhook).await.unwrap();
    alerting::deliver_due(&story.bench.app).await.unwrap();
    assert!(story.receiver.calls().is_empty());
    for entry in story.history().await {
        let expected = match entry.delivery.alert_policy_name.as_str() {
            "inside" => "127.0.0.1 leads to 127.0.0.1, a loopback address",
            "mailed" => "no mail server is named",
            _ => "the webhook was deleted",
        };
        assert_eq!((entry.delivery.status, entry.next_attempt_at), (0, None));
        assert!(entry.delivery.http_response.contains(expected), "{entry:?}");
    }
    assert_eq!(story.history().await.len(), 3);
}

/// An hour of traffic with a storm of five minutes, and a gateway that falls silent after it.
async fn a_past_is_judged_like_the_present(database: Database) {
    let story = Story::new(database).await;
    let storm = json!([status("number_of_status_code", "larger_equal", 100)]);
    let running = story.policy("running", "Any", storm.clone()).await;
    let start = story.bench.app.now().seconds();
    let (mut good, mut bad) = (0, 0);
    for minute in 0..60 {
        for _ in 0..4 {
            story.turn(15);
            story.report(good, bad).await;
            good += 5;
            bad += if (20..25).contains(&minute) { 10 } else { 0 };
        }
        story.work().await;
    }
    let told = story.history().await.len() as u64;
    assert!((5..=12).contains(&told), "{told}");
    story.turn(2 * 3600);
    story.work().await;

    let (cx, cluster) = (&story.bench.cx, story.bench.cluster());
    let tested = alerting::back_test(cx, cluster, running).await.unwrap();
    assert_eq!(tested.fired, told, "the running policy has told as many: {tested:?}");
    assert_eq!(tested.checks, 15 * 1440 + 1);
    assert_eq!(tested.times.len() as u64, told);
    assert!(tested.times.iter().all(|time| (start + 1200..start + 1860).contains(time)));
    assert!(tested.reason.unwrap().contains("answers with status 5xx"));
    assert_eq!(story.history().await.len() as u64, told, "a test tells nobody");

    let back_test = async |operator: &str, conditions: Value, basics: Value| {
        let name = format!("{operator} {conditions}");
        let name = &name[..name.len().min(200)];
        let id = story.policy_without_receivers(name, operator, conditions, basics).await;
        let tested = alerting::back_test(cx, cluster, id).await.unwrap();
        alert_policy::delete(cx, cluster, id).await.unwrap();
        tested.fired
    };
    let once = json!({ "suppress_repeats": true });
    assert_eq!(back_test("Any", storm.clone(), once.clone()).await, 1);
    let silent = limit("gateway_instance_offline", "larger_equal", 1, "hour");
    // It was silent for two hours, and a minute at each end.
    let hour = back_test("Any", json!([silent]), json!({})).await;
    assert!((59..=61).contains(&hour), "{hour}");
    assert_eq!(back_test("All", json!([storm[0], silent]), json!({})).await, 0);
    assert_eq!(back_test("Any", json!([storm[0], silent]), json!({})).await, told + hour);
    let join = limit("control_plane_certificate_will_expire_in", "less_equal", 398, "day");
    let since_issue = back_test("Any", json!([join]), json!({})).await;
    assert!((180..=181).contains(&since_issue), "{since_issue}");

    let bare = alert_policy::create(cx, cluster, parse(json!({ "name": "bare" }))).await.unwrap();
    let refused = alerting::back_test(cx, cluster, bare.value.id).await.unwrap_err();
    assert!(refused.to_string().contains("needs basic information"), "{refused}");
}
