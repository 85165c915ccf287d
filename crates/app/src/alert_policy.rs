//! Alert policies: created by name, completed step by step, then switched on.
//!
//! When conditions are looked at and who delivers what is decided in `alerting`.

use std::collections::BTreeSet;

use gantry_model::alert_policy::{
    AlertPolicy, AlertPolicyBasicInfo, AlertPolicyCreate, AlertPolicySpec, Evaluation,
    TriggerSettings,
};
use gantry_model::alert_webhook::Webhook;
use gantry_model::{Error, Id, ListQuery, Page, Result, Timestamp, Violation};
use gantry_store::Tx;
use gantry_store::alert_policy::{self, AlertPolicyRow, CheckRow};
use serde_json::{Value, json};

use crate::alert_webhook;
use crate::change::{Change, change};
use crate::{App, Cx, Written, alert_trigger, check};

const KIND: &str = "alert_policy";

/// A policy as it is stored.
pub(crate) struct Stored {
    pub row: AlertPolicyRow,
    pub spec: AlertPolicySpec,
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<AlertPolicy>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = alert_policy::list(&mut tx, cluster, query).await?;
    let stored = rows.into_iter().map(|row| opened(&cx.app, row)).collect::<Result<_>>()?;
    Ok(Page { list: views(&cx.app, &mut tx, stored).await?, count })
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<AlertPolicy> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let stored = find(&cx.app, &mut tx, cluster, id).await?;
    let webhooks = alert_webhook::views(&cx.app, &mut tx, &[id]).await?;
    Ok(view(stored, webhooks.into_iter().map(|(_, webhook)| webhook).collect()))
}

/// Creates a policy that is disabled and has neither basic information nor triggers nor webhooks.
pub async fn create(
    cx: &Cx,
    cluster: Id,
    create: AlertPolicyCreate,
) -> Result<Written<AlertPolicy>> {
    let AlertPolicyCreate { name, description } = create;
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let id = change.app.new_id();
            let spec = AlertPolicySpec { description, ..AlertPolicySpec::default() };
            let row = AlertPolicyRow {
                id,
                cluster_id: cluster,
                name,
                disabled: true,
                search_text: String::new(),
                spec_sealed: String::new(),
                created_at: change.now,
                updated_at: change.now,
                check: CheckRow::never(),
            };
            let stored = Stored { row: written(&change.app, row, &spec)?, spec };
            alert_policy::insert(change.tx, &stored.row).await?;
            change.audit(KIND, id, None, record(&stored)?);
            Ok(view(stored, Vec::new()))
        })
    })
    .await
}

/// Removes a policy with its webhooks; what it has sent stays in the history.
pub async fn delete(cx: &Cx, cluster: Id, id: Id) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let stored = find(&change.app, change.tx, cluster, id).await?;
            alert_webhook::note_removal(change, id).await?;
            alert_policy::delete(change.tx, id).await?;
            change.audit(KIND, id, record(&stored)?, None);
            Ok(())
        })
    })
    .await
}

/// Replaces the basic information, description included.
pub async fn set_basic_info(
    cx: &Cx,
    cluster: Id,
    id: Id,
    mut info: AlertPolicyBasicInfo,
) -> Result<Written<()>> {
    check::refuse(&repeated(&info.emails))?;
    let warning = (!info.emails.is_empty() && !cx.app.mailer.is_configured()).then(|| {
        "this installation sends no mail: no mail server is named, so `emails` get nothing".into()
    });
    let mut written = edit(cx, cluster, id, move |stored| {
        stored.spec.description = info.description.take();
        stored.spec.basic_info = Some(info);
    })
    .await?;
    written.warning = warning;
    Ok(written)
}

/// Addresses that would get each alert twice.
fn repeated(emails: &[String]) -> Vec<Violation> {
    let mut seen = BTreeSet::new();
    let twice = emails.iter().enumerate().filter(|(_, email)| !seen.insert(email.to_lowercase()));
    let found = twice.map(|(position, _)| {
        Violation::new(
            format!("emails[{position}]"),
            "stands in the list twice",
            "\"a@example.com\"",
        )
    });
    found.collect()
}

/// Replaces all triggers.
pub async fn set_triggers(
    cx: &Cx,
    cluster: Id,
    id: Id,
    triggers: TriggerSettings,
) -> Result<Written<()>> {
    check::refuse(&alert_trigger::violations(&triggers))?;
    let warning = alert_trigger::warning(&triggers);
    let mut written = edit(cx, cluster, id, move |stored| {
        stored.spec.triggers = Some(triggers);
    })
    .await?;
    written.warning = warning;
    Ok(written)
}

/// Switches a policy off or, if it is complete, on; `None` leaves it as it is.
pub async fn set_disabled(
    cx: &Cx,
    cluster: Id,
    id: Id,
    disabled: Option<bool>,
) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let old = find(&change.app, change.tx, cluster, id).await?;
            let disabled = disabled.unwrap_or(old.row.disabled);
            if old.row.disabled && !disabled {
                check_complete(change, &old).await?;
            }
            let row = AlertPolicyRow { disabled, ..old.row.clone() };
            let new = Stored { row, spec: old.spec.clone() };
            save(change, &old, new).await
        })
    })
    .await
}

/// Refuses to switch on a policy that could not tell anybody anything.
async fn check_complete(change: &mut Change<'_>, policy: &Stored) -> Result<()> {
    let mut missing = Vec::new();
    if policy.spec.basic_info.is_none() {
        missing.push("basic information such as `severity` and `check_interval`");
    }
    if policy.spec.triggers.is_none() {
        missing.push("triggers");
    }
    let has_address = policy.spec.basic_info.as_ref().is_some_and(|info| !info.emails.is_empty());
    if !has_address && alert_webhook::count(change.tx, policy.row.id).await? == 0 {
        missing.push("a webhook");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let rule = format!("cannot be false yet: the policy still needs {}", missing.join(", and "));
    Err(Error::invalid_field("disabled", rule, "true"))
}

async fn edit(
    cx: &Cx,
    cluster: Id,
    id: Id,
    work: impl FnOnce(&mut Stored) + Send + 'static,
) -> Result<Written<()>> {
    change(cx, cluster, move |change| {
        Box::pin(async move {
            let old = find(&change.app, change.tx, cluster, id).await?;
            let mut new = Stored { row: old.row.clone(), spec: old.spec.clone() };
            work(&mut new);
            save(change, &old, new).await
        })
    })
    .await
}

async fn save(change: &mut Change<'_>, old: &Stored, new: Stored) -> Result<()> {
    let Stored { row, spec } = new;
    let row = AlertPolicyRow { updated_at: change.now, ..row };
    let new = Stored { row: written(&change.app, row, &spec)?, spec };
    // A shorter interval counts at once; a longer one from the next check on.
    let interval = new.spec.basic_info.as_ref().map_or(0, |info| info.check_interval);
    let due_by = change.now.plus_seconds(i64::from(interval));
    alert_policy::update(change.tx, &new.row, due_by).await?;
    let app = change.app.clone();
    change.tx.after_commit(move || app.alerting.policy_changed());
    change.audit(KIND, new.row.id, record(old)?, record(&new)?);
    Ok(())
}

/// Notes that a webhook of the policy has changed.
pub(crate) async fn touch(change: &mut Change<'_>, policy: Stored) -> Result<()> {
    let row = AlertPolicyRow { updated_at: change.now, ..policy.row };
    let due_at = row.check.due_at;
    alert_policy::update(change.tx, &row, due_at).await
}

pub(crate) async fn find(app: &App, tx: &mut Tx, cluster: Id, id: Id) -> Result<Stored> {
    let row = alert_policy::find(tx, cluster, id).await?;
    opened(app, row.ok_or_else(|| Error::not_found("alert policy"))?)
}

pub(crate) fn opened(app: &App, row: AlertPolicyRow) -> Result<Stored> {
    let spec = app.sealer.open_json(&place(row.id), &row.spec_sealed)?;
    Ok(Stored { row, spec })
}

/// The row with everything that follows from `spec`.
fn written(app: &App, row: AlertPolicyRow, spec: &AlertPolicySpec) -> Result<AlertPolicyRow> {
    let info = spec.basic_info.as_ref();
    let texts = [
        Some(row.name.as_str()),
        spec.description.as_deref(),
        info.and_then(|info| info.title.as_deref()),
        info.and_then(|info| info.detail.as_deref()),
    ];
    Ok(AlertPolicyRow {
        search_text: check::search_text(texts.into_iter().flatten()),
        spec_sealed: app.sealer.seal_json(&place(row.id), spec)?,
        ..row
    })
}

fn place(id: Id) -> String {
    format!("{KIND}/{id}")
}

fn record(stored: &Stored) -> Result<Option<Value>> {
    let Stored { row, spec } = stored;
    let mut document = check::json(spec)?;
    document["name"] = json!(row.name);
    document["disabled"] = json!(row.disabled);
    Ok(Some(document))
}

async fn views(app: &App, tx: &mut Tx, stored: Vec<Stored>) -> Result<Vec<AlertPolicy>> {
    let ids: Vec<Id> = stored.iter().map(|one| one.row.id).collect();
    let mut webhooks = alert_webhook::views(app, tx, &ids).await?;
    let mut views = Vec::with_capacity(stored.len());
    for one in stored {
        let own = webhooks.extract_if(.., |(policy, _)| *policy == one.row.id);
        let own = own.map(|(_, webhook)| webhook).collect();
        views.push(view(one, own));
    }
    Ok(views)
}

fn view(stored: Stored, webhooks: Vec<Webhook>) -> AlertPolicy {
    let Stored { row, spec } = stored;
    let AlertPolicySpec { description, basic_info, triggers } = spec;
    let evaluation = evaluation(&row);
    AlertPolicy {
        id: row.id,
        cluster_id: row.cluster_id,
        name: row.name,
        disabled: row.disabled,
        description,
        basic_info,
        triggers,
        webhooks,
        evaluation,
        create_at: row.created_at.seconds(),
        update_at: row.updated_at.seconds(),
    }
}

fn evaluation(row: &AlertPolicyRow) -> Evaluation {
    let CheckRow { due_at, checked_at, firing_since, problem } = row.check.clone();
    Evaluation {
        checked_at: checked_at.map(Timestamp::seconds),
        next_check_at: (!row.disabled).then(|| due_at.seconds()),
        firing_since: firing_since.map(Timestamp::seconds),
        problem,
    }
}
