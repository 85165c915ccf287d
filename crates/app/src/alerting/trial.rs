//! Sends a sample alert to a webhook, so that people see that it arrives before they need it.

use gantry_gotemplate::Template;
use gantry_model::alert_history::{Attempt, Delivery};
use gantry_model::alert_policy::Severity;
use gantry_model::alert_webhook::WebhookTrial;
use gantry_model::{Error, Id, Result};

use super::post::{Fate, Message, Posted, Poster};
use crate::{Cx, alert_history, alert_policy, alert_template, alert_webhook};

/// Sends a sample alert now, once, whether the policy is on or not. It stands in the history like any
/// other, and says of itself that it is a test. A dry run renders it and sends nothing.
pub async fn trial(cx: &Cx, cluster: Id, policy: Id, id: Id) -> Result<WebhookTrial> {
    let app = &cx.app;
    let mut tx = app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let policy = alert_policy::find(app, &mut tx, cluster, policy).await?;
    let webhook = alert_webhook::known(app, &mut tx, policy.row.id, id).await?;
    let webhook = webhook.ok_or_else(|| Error::not_found("webhook"))?;
    drop(tx);
    let info = policy.spec.basic_info.as_ref();
    let now = app.now();
    let severity = info.map_or(Severity::Medium, |info| info.severity);
    let title = info.and_then(|info| info.title.as_deref()).unwrap_or(&policy.row.name);
    let alert = alert_template::trial(&policy.row.name, title, severity.name(), now);
    let body = Template::parse(&webhook.spec.template)
        .map_err(|error| error.to_string())
        .and_then(|template| alert_template::render(&template, &alert))
        .map_err(|reason| Error::invalid_field("template", reason, "\"{{.Title}}\""))?;
    let message = Message { id: app.new_id(), time: now, webhook: &webhook.spec, body: &body };
    if cx.dry_run {
        let http_request = Poster::preview(&message);
        return Ok(WebhookTrial { status: 0, http_request, http_response: String::new() });
    }
    let Posted { request, response, brief, fate } = app.alerting.poster.post(&message).await?;
    let delivery = Delivery {
        alert_policy_id: policy.row.id,
        alert_policy_name: policy.row.name.clone(),
        webhook_id: Some(id),
        webhook_name: webhook.spec.name.clone(),
        severity,
        description: alert_template::TRIAL.to_owned(),
        status: u8::from(fate == Fate::Delivered),
        http_request: request.clone(),
        http_response: response.clone(),
        attempts: vec![Attempt { at: now.seconds(), outcome: brief }],
    };
    alert_history::record(app, cluster, now, &delivery).await?;
    Ok(WebhookTrial { status: delivery.status, http_request: request, http_response: response })
}
