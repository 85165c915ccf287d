//! Sends what was decided: each entry of the history until it is delivered or given up.
//!
//! Who sends an entry first puts its due time off by more than an attempt can take. So nobody else
//! sends it meanwhile, and if the sender dies it is due again.

use std::collections::HashMap;
use std::sync::Arc;

use gantry_model::alert_history::{Attempt, Delivery};
use gantry_model::{Id, Result, Timestamp};
use gantry_store::alert_history::{self as history, AlertHistoryRow};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::post::{self, Fate, Posted};
use crate::alert_history::{self, Entry, Message};
use crate::mail::{self, Mail};
use crate::{App, alert_webhook};

/// Attempts under way at once, of one cluster and in all: receivers that hang are in the way of their
/// own cluster only.
const OF_CLUSTER: usize = 16;
const AT_ONCE: usize = 256;
/// How long an attempt is left alone; longer than it takes, mails included.
const CLAIM_S: i64 = 20;
/// Seconds until the next attempt, after each one that failed: what is shortly out of order is told
/// soon, and after some 40 minutes somebody has to look.
const AGAIN_AFTER_S: [i64; 5] = [5, 30, 120, 600, 1800];

/// Sends what is due, each entry once, and waits until that is done.
pub async fn due(app: &App) -> Result<()> {
    let mut deliveries = Deliveries::default();
    let begun = deliveries.begin(app).await;
    deliveries.finish().await;
    begun
}

/// Attempts that are under way.
#[derive(Default)]
pub(super) struct Deliveries {
    sending: JoinSet<()>,
    /// How many more a cluster may begin.
    room: HashMap<Id, Arc<Semaphore>>,
}

impl Deliveries {
    /// Begins to send what is due, as far as there is room. Each attempt that ends asks for another
    /// look.
    pub(super) async fn begin(&mut self, app: &App) -> Result<()> {
        while self.sending.try_join_next().is_some() {}
        self.room.retain(|_, room| room.available_permits() < OF_CLUSTER);
        let (of_cluster, limit) = (limit(OF_CLUSTER), limit(AT_ONCE));
        let mut tx = app.db.read().await?;
        for row in history::due(&mut tx, app.now(), of_cluster, limit).await? {
            let room = self.room.entry(row.cluster_id);
            let room = room.or_insert_with(|| Arc::new(Semaphore::new(OF_CLUSTER)));
            let turn = Arc::clone(room).try_acquire_owned();
            let (Ok(turn), true) = (turn, self.sending.len() < AT_ONCE) else { continue };
            let app = app.clone();
            self.sending.spawn(async move {
                let id = row.id;
                let sent = send(&app, row).await;
                drop(turn);
                match sent {
                    Ok(()) => app.alerting.deliveries.notify_one(),
                    Err(error) => {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(error, alert = %id, "an alert could not be sent; trying again");
                    }
                }
            });
        }
        Ok(())
    }

    /// Waits for what is under way.
    pub(super) async fn finish(&mut self) {
        while self.sending.join_next().await.is_some() {}
    }
}

fn limit(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
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
