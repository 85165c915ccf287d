//! Sends what was decided: each entry of the history until it is delivered or given up.
//!
//! Who sends an entry first puts its due time off by more than an attempt can take. So nobody else
//! sends it meanwhile, and if the sender dies it is due again.

use futures::StreamExt as _;
use gantry_model::alert_history::{Attempt, Delivery};
use gantry_model::{Result, Timestamp};
use gantry_store::alert_history::{self as history, AlertHistoryRow};

use super::post::{self, Fate, Posted};
use crate::alert_history::{self, Entry, Message};
use crate::mail::{self, Mail};
use crate::{App, alert_webhook};

/// Entries that one look takes on.
const BATCH: i64 = 100;
/// Attempts under way at once.
const AT_ONCE: usize = 16;
/// How long an attempt is left alone; longer than it takes, mails included.
const CLAIM_S: i64 = 20;
/// Seconds until the next attempt, after each one that failed: what is shortly out of order is told
/// soon, and after some 40 minutes somebody has to look.
const AGAIN_AFTER_S: [i64; 5] = [5, 30, 120, 600, 1800];

/// Sends every entry that is due, each once.
pub async fn due(app: &App) -> Result<()> {
    let rows = history::due(&mut app.db.read().await?, app.now(), BATCH).await?;
    let sending = futures::stream::iter(rows).map(|row| {
        let (app, id) = (app.clone(), row.id);
        async move {
            if let Err(error) = send(&app, row).await {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, alert = %id, "an alert could not be sent; trying again");
            }
        }
    });
    sending.buffer_unordered(AT_ONCE).collect::<()>().await;
    Ok(())
}

async fn send(app: &App, row: AlertHistoryRow) -> Result<()> {
    let now = app.now();
    let claimed = now.plus_seconds(CLAIM_S);
    let wanted = row.clone();
    let claim =
        app.db.write(move |tx| Box::pin(async move { history::claim(tx, &wanted, claimed).await }));
    if !claim.await? {
        return Ok(());
    }
    let mut entry = alert_history::opened(app, &row)?;
    let posted = match &entry.message {
        Some(Message::Webhook { body }) => webhook(app, &row, &entry.delivery, body, now).await?,
        Some(Message::Mail { to, subject, text }) => {
            let (to, subject, text) = (to.clone(), subject.clone(), text.clone());
            mail(app, Mail { to, subject, text }).await
        }
        None => gone("there is nothing to send"),
    };
    let due_at = settle(&mut entry, posted, now);
    let row = alert_history::settled(app, row, &entry, due_at)?;
    let settled =
        app.db.write(move |tx| Box::pin(async move { history::settle(tx, &row, claimed).await }));
    settled.await.map(|_| ())
}

/// Notes an attempt; answers when the next one is due.
fn settle(entry: &mut Entry, posted: Posted, now: Timestamp) -> Option<Timestamp> {
    let Posted { request, response, brief, fate } = posted;
    let delivery = &mut entry.delivery;
    let pause = AGAIN_AFTER_S.get(delivery.attempts.len()).filter(|_| fate == Fate::Again);
    delivery.attempts.push(Attempt { at: now.seconds(), outcome: brief });
    delivery.http_request = request;
    delivery.http_response = response;
    delivery.status = u8::from(fate == Fate::Delivered);
    if pause.is_none() {
        // What was sent stands in the request.
        entry.message = None;
    }
    pause.map(|pause| now.plus_seconds(*pause))
}

async fn webhook(
    app: &App,
    row: &AlertHistoryRow,
    delivery: &Delivery,
    body: &str,
    time: Timestamp,
) -> Result<Posted> {
    let mut tx = app.db.read().await?;
    let known = match delivery.webhook_id {
        Some(id) => alert_webhook::known(app, &mut tx, delivery.alert_policy_id, id).await?,
        None => None,
    };
    drop(tx);
    let Some(known) = known else {
        return Ok(gone("the webhook was deleted before it was called"));
    };
    let message = post::Message { id: row.id, time, webhook: &known.spec, body };
    app.alerting.poster.post(&message).await
}

/// A mail server may refuse an address for good; it is asked again all the same.
async fn mail(app: &App, mail: Mail) -> Posted {
    let request = format!("To: {}\nSubject: {}\n\n{}", mail.to, mail.subject, mail.text);
    let (brief, fate) = match app.mailer.send(mail).await {
        Ok(mail::Delivery::Sent) => ("taken by the mail server".to_owned(), Fate::Delivered),
        Ok(mail::Delivery::NotConfigured) => ("no mail server is named".to_owned(), Fate::GivenUp),
        Err(error) => (told(&error), Fate::Again),
    };
    Posted { request, response: brief.clone(), brief, fate }
}

/// What a mail server said stands behind our own words.
fn told(error: &gantry_model::Error) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string);
    source.unwrap_or_else(|| error.to_string())
}

fn gone(why: &str) -> Posted {
    let (response, brief) = (why.to_owned(), why.to_owned());
    Posted { request: String::new(), response, brief, fate: Fate::GivenUp }
}
