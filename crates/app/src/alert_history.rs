//! The history of alerts: what was sent where, and what came back.

use gantry_model::alert_history::{AlertHistory, Delivery, KEEP_DAYS};
use gantry_model::{Error, Id, ListQuery, Page, Result, Timestamp};
use gantry_store::alert_history::{self, AlertHistoryRow};

use crate::{App, Cx, check};

/// Seconds after which entries are forgotten.
pub(crate) const KEEP_S: i64 = KEEP_DAYS * 86_400;

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

/// Remembers one delivery of an alert at `time`; what it sent may hold secrets and is sealed.
pub async fn record(app: &App, cluster: Id, time: Timestamp, delivery: &Delivery) -> Result<Id> {
    let id = app.new_id();
    let Delivery { alert_policy_name, webhook_name, description, severity, .. } = delivery;
    let texts = [alert_policy_name, webhook_name, description, severity.name()];
    let row = AlertHistoryRow {
        id,
        cluster_id: cluster,
        search_text: check::search_text(texts),
        delivery_sealed: app.sealer.seal_json(&place(id), delivery)?,
        created_at: time,
    };
    app.db.write(move |tx| Box::pin(async move { alert_history::insert(tx, &row).await })).await?;
    Ok(id)
}

fn place(id: Id) -> String {
    format!("alert_history/{id}")
}

fn view(app: &App, row: &AlertHistoryRow) -> Result<AlertHistory> {
    Ok(AlertHistory {
        id: row.id,
        cluster_id: row.cluster_id,
        delivery: app.sealer.open_json(&place(row.id), &row.delivery_sealed)?,
        create_at: row.created_at.seconds(),
    })
}
