//! Work that nobody asks for: forgetting what is no longer needed. Idempotent, so that any number of
//! servers may do it at any time.

use std::time::Duration;

use gantry_model::Result;
use gantry_model::instance::PURGE_AFTER_S;
use gantry_store::{alert_history, billing, email_verification, instance, session};
use tokio_util::sync::CancellationToken;

use crate::alert_history::KEEP_S;
use crate::{App, feed, receipt, telemetry};

/// How long runs of gateways are remembered that report no more: one that came back later would be
/// counted from its start again.
const RUN_KEEP_S: i64 = 400 * 86_400;
/// How often the house is kept.
const EVERY: Duration = Duration::from_secs(600);

/// Keeps the house until `shutdown`, starting now.
pub async fn run(app: App, shutdown: CancellationToken) {
    let task = telemetry::task(&app, "housekeeping", 3 * EVERY);
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let outcome = once(&app).await;
        task.ended(&outcome);
        if let Err(error) = outcome {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "housekeeping failed; trying again later"
            );
        }
    }
}

/// Forgets ended sessions and links, instances that have been silent for long, old alerts, receipts
/// and revisions.
pub async fn once(app: &App) -> Result<()> {
    let now = app.now();
    app.db
        .write(move |tx| {
            Box::pin(async move {
                session::delete_expired(tx, now).await?;
                alert_history::purge(tx, now.plus_seconds(-KEEP_S)).await?;
                billing::purge_runs(tx, now.plus_seconds(-RUN_KEEP_S)).await?;
                email_verification::delete_expired(tx, now).await?;
                instance::purge(tx, now.plus_seconds(-PURGE_AFTER_S)).await
            })
        })
        .await?;
    receipt::forget_old(app).await?;
    feed::compact_all(app).await
}
