//! Everything that is known now, for Prometheus.

use std::collections::BTreeMap;

use gantry_model::Result;
use gantry_model::instance::{Heartbeat, InstanceStatus, PURGE_AFTER_S};
use gantry_store::census::{self, Census};

use super::exposition::{Exposition, Kind};
use crate::{App, metrics};

/// Clusters that have series of their own; beyond, only sums are told.
const CLUSTERS_MAX: usize = 1_000;

/// The account of this server in Prometheus' text format. What only the database knows is left out
/// while it does not answer, and `gantry_database_up` is 0.
pub async fn text(app: &App) -> String {
    let mut out = Exposition::default();
    out.family("gantry_build_info", Kind::Gauge, "The version that runs.");
    out.sample("gantry_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    app.telemetry.requests.write(&mut out);
    revisions(app, &mut out);
    database(app, &mut out);
    background(app, &mut out);
    stored(app, &mut out);
    let found = instances(app, &mut out).await;
    if let Err(error) = &found {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "instances could not be counted");
    }
    let help = "Whether the database answered this scrape.";
    out.single("gantry_database_up", Kind::Gauge, help, u8::from(found.is_ok()));
    out.finish()
}

fn revisions(app: &App, out: &mut Exposition) {
    let help = "Configuration revisions committed by this server.";
    out.single("gantry_revisions_total", Kind::Counter, help, app.feeds.committed());
    let help = "Watches of gateways on the configuration, at this server.";
    out.single("gantry_watchers", Kind::Gauge, help, app.feeds.watchers());
}

fn database(app: &App, out: &mut Exposition) {
    let found = app.db.statistics();
    let help = "Transactions that were to write, by outcome.";
    out.family("gantry_database_writes_total", Kind::Counter, help);
    let committed = found.writes.saturating_sub(found.failures);
    for (outcome, count) in [("committed", committed), ("refused", found.failures)] {
        out.sample("gantry_database_writes_total", &[("outcome", outcome)], count);
    }
    let help = "Time of these transactions, the wait for their turn and their commit included.";
    out.family("gantry_database_write_duration_seconds", Kind::Summary, help);
    out.sample("gantry_database_write_duration_seconds_sum", &[], found.took.as_secs_f64());
    out.sample("gantry_database_write_duration_seconds_count", &[], found.writes);
}

fn background(app: &App, out: &mut Exposition) {
    let tasks = app.telemetry.background.states();
    let help = "Rounds of work in the background that have ended.";
    out.family("gantry_background_runs_total", Kind::Counter, help);
    for (name, state) in &tasks {
        out.sample("gantry_background_runs_total", &[("task", name)], state.runs);
    }
    let help = "Rounds of work in the background that failed.";
    out.family("gantry_background_failures_total", Kind::Counter, help);
    for (name, state) in &tasks {
        out.sample("gantry_background_failures_total", &[("task", name)], state.failures);
    }
    let help = "Time since work in the background was heard of.";
    out.family("gantry_background_silence_seconds", Kind::Gauge, help);
    for (name, state) in &tasks {
        if let Some(silence) = state.silence() {
            out.sample("gantry_background_silence_seconds", &[("task", name)], silence);
        }
    }
}

/// What became of the metrics of gateways.
fn stored(app: &App, out: &mut Exposition) {
    let counts = metrics::counts(app);
    let help = "Samples of gateways' metrics, by what became of them.";
    out.family("gantry_metrics_samples_total", Kind::Counter, help);
    for (outcome, count) in [
        ("stored", counts.stored),
        ("repeated", counts.repeated),
        ("over_limit", counts.over_limit),
        ("unreadable", counts.unreadable),
    ] {
        out.sample("gantry_metrics_samples_total", &[("outcome", outcome)], count);
    }
    let Some(remote) = metrics::remote_write_state(app) else { return };
    let help = "Samples for the metrics server, by what became of them.";
    out.family("gantry_remote_write_samples_total", Kind::Counter, help);
    for (outcome, count) in
        [("sent", remote.sent), ("dropped", remote.dropped), ("refused", remote.refused)]
    {
        out.sample("gantry_remote_write_samples_total", &[("outcome", outcome)], count);
    }
    let help = "Samples that wait to be sent to the metrics server.";
    out.single("gantry_remote_write_waiting", Kind::Gauge, help, remote.waiting);
    let help = "Requests to the metrics server that failed and were tried again.";
    out.single("gantry_remote_write_failures_total", Kind::Counter, help, remote.failures);
}

fn name(status: InstanceStatus) -> &'static str {
    match status {
        InstanceStatus::Healthy => "healthy",
        InstanceStatus::OnlyHeartbeats => "only_heartbeats",
        InstanceStatus::LostConnection => "lost_connection",
        InstanceStatus::Offline => "offline",
    }
}

async fn instances(app: &App, out: &mut Exposition) -> Result<()> {
    let now = app.now();
    let since = now.plus_seconds(-PURGE_AFTER_S);
    let rows = census::instances(&mut app.db.read().await?, since).await?;
    let mut statuses = BTreeMap::<&'static str, u64>::new();
    let mut lags = BTreeMap::new();
    let mut differing: u64 = 0;
    for Census { cluster, newest, applied, differs, report, last_seen_time } in rows {
        // What cannot be read is no instance that anybody could ask about.
        let Ok(report) = serde_json::from_str::<Heartbeat>(&report) else { continue };
        let silence_s = now.seconds() - last_seen_time.seconds();
        let status = InstanceStatus::of(silence_s, report.etcd_reachable);
        *statuses.entry(name(status)).or_default() += 1;
        differing += u64::from(differs && status.is_online());
        // Gateways that never say what they use have no lag that we know of.
        if status == InstanceStatus::Healthy && applied > 0 {
            let lag = lags.entry(cluster).or_insert(0);
            *lag = newest.saturating_sub(applied).max(*lag);
        }
    }
    out.family("gantry_instances", Kind::Gauge, "Gateways of all clusters, by status.");
    for (status, count) in statuses {
        out.sample("gantry_instances", &[("status", status)], count);
    }
    let help = "Gateways that run something else than their revision says.";
    out.single("gantry_instances_differing", Kind::Gauge, help, differing);
    let help = "Revisions that the slowest healthy gateway of a cluster is behind.";
    out.family("gantry_instance_lag_revisions", Kind::Gauge, help);
    for (cluster, lag) in lags.iter().take(CLUSTERS_MAX) {
        out.sample("gantry_instance_lag_revisions", &[("cluster", &cluster.to_string())], lag);
    }
    let help = "Revisions that the slowest healthy gateway of all clusters is behind.";
    let most = lags.values().max().copied().unwrap_or(0);
    out.single("gantry_instance_lag_revisions_max", Kind::Gauge, help, most);
    Ok(())
}
