//! The history of alerts: what was sent where, what came back, and what is still to be sent.

use gantry_model::alert_history::{AlertHistory, Delivery, KEEP_DAYS};
use gantry_model::{Error, Id, ListQuery, Page, Result, Timestamp};
use gantry_store::alert_history::{self, AlertHistoryRow};
use serde::{Deserialize, Serialize};

use crate::{App, Cx, check};

/// Seconds after which entries are forgotten.
pub(crate) const KEEP_S: i64 = KEEP_DAYS * 86_400;

/// What is kept of an alert for one receiver.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    #[serde(flatten)]
    pub delivery: Delivery,
    /// What every attempt sends; `None` where there is nothing to send any more.
    #[serde(default)]
    pub message: Option<Message>,
}

/// What is sent, made when the alert was decided.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Message {
    /// Body for the webhook that the delivery names; where it goes is asked when it is sent.
    Webhook {
        body: String,
    },
    Mail {
        to: String,
        subject: String,
        text: String,
    },
}

pub async fn list(cx: &Cx, cluster: Id, query: &ListQuery) -> Result<Page<AlertHistory>> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let (rows, count) = alert_history::list(&mut tx, cluster, query).await?;
    let list = rows.iter().map(|row| view(&cx.app, row)).collect::<Result<_>>()?;
    Ok(Page { list, count })
}

pub async fn get(cx: &Cx, cluster: Id, id: Id) -> Result<AlertHistory> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let row = alert_history::find(&mut tx, cluster, id).await?;
    view(&cx.app, &row.ok_or_else(|| Error::not_found("alert history"))?)
}

/// Remembers a delivery that is over.
pub async fn record(app: &App, cluster: Id, time: Timestamp, delivery: &Delivery) -> Result<Id> {
    let id = app.new_id();
    let entry = Entry { delivery: delivery.clone(), message: None };
    let row = row(app, id, cluster, time, &entry)?;
    app.db.write(move |tx| Box::pin(async move { alert_history::insert(tx, &row).await })).await?;
    Ok(id)
}

/// An entry as it is stored, due at once if it has a message; what it sends may hold secrets and is
/// sealed.
pub(crate) fn row(
    app: &App,
    id: Id,
    cluster: Id,
    time: Timestamp,
    entry: &Entry,
) -> Result<AlertHistoryRow> {
    let Delivery { alert_policy_name, webhook_name, description, severity, .. } = &entry.delivery;
    let texts = [alert_policy_name, webhook_name, description, severity.name()];
    Ok(AlertHistoryRow {
        id,
        cluster_id: cluster,
        search_text: check::search_text(texts),
        delivery_sealed: app.sealer.seal_json(&place(id), entry)?,
        created_at: time,
        due_at: entry.message.is_some().then_some(time),
    })
}

/// `row` with what has become of its entry, to be sent again at `due_at`.
pub(crate) fn settled(
    app: &App,
    row: AlertHistoryRow,
    entry: &Entry,
    due_at: Option<Timestamp>,
) -> Result<AlertHistoryRow> {
    let delivery_sealed = app.sealer.seal_json(&place(row.id), entry)?;
    Ok(AlertHistoryRow { delivery_sealed, due_at, ..row })
}

pub(crate) fn opened(app: &App, row: &AlertHistoryRow) -> Result<Entry> {
    app.sealer.open_json(&place(row.id), &row.delivery_sealed)
}

fn place(id: Id) -> String {
    format!("alert_history/{id}")
}

fn view(app: &App, row: &AlertHistoryRow) -> Result<AlertHistory> {
    Ok(AlertHistory {
        id: row.id,
        cluster_id: row.cluster_id,
        delivery: opened(app, row)?.delivery,
        next_attempt_at: row.due_at.map(Timestamp::seconds),
        create_at: row.created_at.seconds(),
    })
}
