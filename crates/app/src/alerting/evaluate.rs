//! Looks at policies that are due and decides whether their alerts are told.

use futures::StreamExt as _;
use gantry_gotemplate::Template;
use gantry_model::alert_history::Delivery;
use gantry_model::alert_policy::{AlertPolicyBasicInfo, TriggerSettings};
use gantry_model::{ErrorCode, Result, Timestamp};
use gantry_store::alert_history::{self as history, AlertHistoryRow};
use gantry_store::alert_policy::{self as policies, AlertPolicyRow, CheckRow};

use super::conditions::Verdict;
use super::facts;
use crate::App;
use crate::alert_history::{self, Entry, Message};
use crate::alert_policy::{self, Stored};
use crate::alert_template::{self, Alert};
use crate::alert_webhook;

/// Policies that one look takes on; the others are as due a moment later.
const BATCH: i64 = 100;
/// Policies that are checked at once: one that looks at much must not hold up the others.
const AT_ONCE: usize = 8;
/// When a policy that could not be checked is looked at again.
const AGAIN_AFTER_S: i64 = 60;

/// Checks every policy that is due. A policy that cannot be checked says so and waits for its next
/// time.
pub async fn due(app: &App) -> Result<()> {
    let rows = policies::due(&mut app.db.read().await?, app.now(), BATCH).await?;
    let checking = futures::stream::iter(rows).map(|row| async move {
        let id = row.id;
        if let Err(error) = check(app, row.clone()).await {
            tracing::error!(error = &error as &dyn std::error::Error, policy = %id,
                "an alert policy could not be checked");
            put_off(app, row).await;
        }
    });
    checking.buffer_unordered(AT_ONCE).collect::<()>().await;
    Ok(())
}

/// Moves a policy on that could not be checked, so that it is not in the way of others.
async fn put_off(app: &App, row: AlertPolicyRow) {
    let outcome = CheckRow {
        due_at: app.now().plus_seconds(AGAIN_AFTER_S),
        problem: Some("the server could not check this policy: its log says why".to_owned()),
        ..row.check.clone()
    };
    let id = row.id;
    if let Err(error) = decide(app, row, outcome, Vec::new()).await {
        let error = &error as &dyn std::error::Error;
        tracing::error!(error, policy = %id, "an alert policy is still due");
    }
}

async fn check(app: &App, row: AlertPolicyRow) -> Result<()> {
    let now = app.now();
    let policy = alert_policy::opened(app, row)?;
    let (Some(info), Some(triggers)) = (&policy.spec.basic_info, &policy.spec.triggers) else {
        // No policy is on without both.
        return Ok(());
    };
    let before = &policy.row.check;
    let mut outcome = CheckRow {
        due_at: next(app, before.due_at, info, now),
        checked_at: Some(now),
        firing_since: None,
        problem: None,
    };
    let mut entries = Vec::new();
    match look(app, &policy.row, triggers, now).await {
        Ok(verdict) if verdict.fires => {
            outcome.firing_since = before.firing_since.or(Some(now));
            if !info.suppress_repeats || before.firing_since.is_none() {
                entries = alert(app, &policy, info, &verdict, now).await?;
            }
        }
        Ok(_) => {}
        Err(problem) => {
            outcome.problem = Some(problem);
            outcome.firing_since = before.firing_since;
        }
    }
    decide(app, policy.row, outcome, entries).await
}

/// When a policy is looked at again: its times keep their distance, unless one was missed.
fn next(app: &App, due: Timestamp, info: &AlertPolicyBasicInfo, now: Timestamp) -> Timestamp {
    let own = i64::from(info.check_interval).saturating_mul(1_000_000);
    let forced =
        app.alerting.interval.and_then(|interval| i64::try_from(interval.as_micros()).ok());
    let after = |time: Timestamp| {
        Timestamp::from_micros(time.micros().saturating_add(forced.unwrap_or(own).max(1)))
    };
    if after(due) > now { after(due) } else { after(now) }
}

/// What the conditions say; an error is why they cannot, in words for people.
async fn look(
    app: &App,
    row: &AlertPolicyRow,
    triggers: &TriggerSettings,
    now: Timestamp,
) -> Result<Verdict, String> {
    let verdict = facts::present(app, row.cluster_id, triggers, now).await;
    verdict.map_err(|error| match error.code {
        ErrorCode::Internal => {
            let source = &error as &dyn std::error::Error;
            tracing::error!(error = source, policy = %row.id, "conditions could not be looked at");
            "the server could not look at the conditions: its log says why".to_owned()
        }
        _ => error.to_string(),
    })
}

/// Moves the policy on and writes the entries, or does nothing if somebody else was faster.
async fn decide(
    app: &App,
    row: AlertPolicyRow,
    outcome: CheckRow,
    entries: Vec<AlertHistoryRow>,
) -> Result<()> {
    let told = !entries.is_empty();
    let work = app.db.write(move |tx| {
        Box::pin(async move {
            if !policies::decide(tx, &row, &outcome).await? {
                return Ok(false);
            }
            for entry in &entries {
                history::insert(tx, entry).await?;
            }
            Ok(true)
        })
    });
    if work.await? && told {
        app.alerting.deliveries.notify_one();
    }
    Ok(())
}

/// An entry for each receiver of the alert.
async fn alert(
    app: &App,
    policy: &Stored,
    info: &AlertPolicyBasicInfo,
    verdict: &Verdict,
    now: Timestamp,
) -> Result<Vec<AlertHistoryRow>> {
    let webhooks = alert_webhook::of_policy(app, &mut app.db.read().await?, policy.row.id).await?;
    let alert = told(policy, info, verdict, now);
    let mut entries = Vec::with_capacity(webhooks.len() + info.emails.len());
    for webhook in &webhooks {
        let rendered = Template::parse(&webhook.spec.template)
            .map_err(|error| error.to_string())
            .and_then(|template| alert_template::render(&template, &alert));
        let mut delivery = delivery(policy, info, verdict, &webhook.spec.name);
        delivery.webhook_id = Some(webhook.row.id);
        let message = match rendered {
            Ok(body) => Some(Message::Webhook { body }),
            Err(reason) => {
                delivery.http_response = format!("the template failed: {reason}");
                None
            }
        };
        entries.push(Entry { delivery, message });
    }
    for address in &info.emails {
        let delivery = delivery(policy, info, verdict, address);
        let (subject, text) = mail(&alert);
        let message = Message::Mail { to: address.clone(), subject, text };
        entries.push(Entry { delivery, message: Some(message) });
    }
    let row =
        |entry: &Entry| alert_history::row(app, app.new_id(), policy.row.cluster_id, now, entry);
    entries.iter().map(row).collect()
}

fn delivery(
    policy: &Stored,
    info: &AlertPolicyBasicInfo,
    verdict: &Verdict,
    receiver: &str,
) -> Delivery {
    let summaries: Vec<&str> = verdict.events.values().map(|one| one.summary.as_str()).collect();
    Delivery {
        alert_policy_id: policy.row.id,
        alert_policy_name: policy.row.name.clone(),
        webhook_id: None,
        webhook_name: receiver.to_owned(),
        severity: info.severity,
        description: summaries.join("; "),
        status: 0,
        http_request: String::new(),
        http_response: String::new(),
        attempts: Vec::new(),
    }
}

/// The alert as templates see it.
pub(super) fn told<'a>(
    policy: &'a Stored,
    info: &'a AlertPolicyBasicInfo,
    verdict: &Verdict,
    time: Timestamp,
) -> Alert<'a> {
    Alert {
        title: info.title.as_deref().unwrap_or(&policy.row.name),
        time,
        events: verdict.events.clone(),
        name: &policy.row.name,
        description: policy.spec.description.as_deref().unwrap_or_default(),
        severity: info.severity.name(),
        class: &info.class,
        detail: info.detail.as_deref().unwrap_or_default(),
    }
}

/// Subject and text of a mail.
fn mail(alert: &Alert<'_>) -> (String, String) {
    let Alert { title, time, events, name, description, severity, detail, .. } = alert;
    let summaries = events.values().map(|event| format!("- {}\n", event.summary));
    let summaries: String = summaries.collect();
    let remarks = [detail, description].into_iter().filter(|text| !text.is_empty());
    let remarks: String = remarks.map(|text| format!("\n{text}\n")).collect();
    let text = format!("{summaries}{remarks}\nPolicy {name}, severity {severity}, {time}\n");
    (format!("[{severity}] {title}"), text)
}
