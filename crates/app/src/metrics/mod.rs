//! Metrics: takes the reports of gateways in and answers queries about a cluster.
//!
//! Each server keeps what it receives, in files under its own data folder; the database knows nothing
//! of it. Several servers on one PostgreSQL so answer for the gateways that report to them, unless
//! they share a server that speaks Prometheus: what is kept goes there too (`remote_write`), and is
//! asked for there (`remote_query`), by charts as by alerts.

mod counts;
mod formula;
mod own;
mod promql;
mod query;
mod remote;
mod remote_counts;
mod remote_query;
mod remote_write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gantry_metrics::{Outcome, Report, Store, text};
use gantry_model::config::ClusterSettings;
use gantry_model::instance::MetricsOrder;
use gantry_model::metrics::MetricsReport;
use gantry_model::{Error, Result, Timestamp, Violation};
use gantry_store::cluster;
use tokio::sync::{OnceCell, Semaphore};
use tokio_util::sync::CancellationToken;

pub(crate) use counts::{Asker, Counted, Heard, answers, heard};
pub use gantry_metrics::Options;
pub use query::query;
pub use remote::RemoteOptions;
pub use remote_write::RemoteWriteState;

use self::remote::Remote;
use self::remote_query::RemoteQuery;
use self::remote_write::RemoteWrite;
use crate::gateway::Identity;
use crate::{App, check, telemetry};

/// Seconds between the reports of an instance (facts §2.3).
pub(crate) const INTERVAL_S: u32 = 15;
/// Bytes of the text of one report; larger ones come in parts. As JSON, with its quotes escaped, it
/// is well below what the door accepts.
pub(crate) const TEXT_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Bytes of an instance's id.
const INSTANCE_BYTES_MAX: usize = 256;
/// How often logs are forced to disk: what a loss of power can cost.
const MAINTAIN: Duration = Duration::from_secs(5);
/// How often is looked for days that are over.
const COMPACT: Duration = Duration::from_secs(60);
/// Longer than a round of either takes, also on a slow disk.
const MAINTAIN_PATIENCE: Duration = Duration::from_secs(120);
const COMPACT_PATIENCE: Duration = Duration::from_secs(3600);
/// Queries at once; each keeps a core busy.
const QUERIES_MAX: usize = 4;
/// The same of running alerts, which charts and back-tests must not delay.
const ALERTS_MAX: usize = 2;

/// The time series, opened when they are first needed: commands beside a running server do without.
pub(crate) struct Metrics {
    folder: PathBuf,
    options: Options,
    store: OnceCell<Arc<Store>>,
    queries: Arc<Semaphore>,
    alerts: Arc<Semaphore>,
    remote_write: Option<RemoteWrite>,
    remote_query: Option<RemoteQuery>,
    counts: Mutex<Counts>,
}

/// Samples that have arrived since the start, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub stored: u64,
    /// There was a sample of the same or a later time.
    pub repeated: u64,
    /// Of series beyond the limit of a cluster.
    pub over_limit: u64,
    /// Lines that are not Prometheus text.
    pub unreadable: u64,
}

impl Metrics {
    /// An error names the setting that cannot be used.
    pub fn new(folder: PathBuf, options: Options, remote: &RemoteOptions) -> Result<Self> {
        let open = |name: &str, url: &Option<String>| {
            url.as_deref().map(|url| Remote::new(name, url, &remote.headers)).transpose()
        };
        Ok(Self {
            folder,
            options,
            store: OnceCell::new(),
            queries: Arc::new(Semaphore::new(QUERIES_MAX)),
            alerts: Arc::new(Semaphore::new(ALERTS_MAX)),
            remote_write: open("metrics-remote-write", &remote.write)?.map(RemoteWrite::new),
            remote_query: open("metrics-query", &remote.query)?.map(RemoteQuery::new),
            counts: Mutex::default(),
        })
    }

    async fn store(&self) -> Result<Arc<Store>> {
        let open = || async {
            let (folder, options) = (self.folder.clone(), self.options.clone());
            blocking(move || Store::open(folder, options)).await.map(Arc::new)
        };
        self.store.get_or_try_init(open).await.cloned()
    }

    fn count(&self, outcome: &Outcome, refused: usize) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.stored += outcome.stored as u64;
        counts.repeated += outcome.repeated as u64;
        counts.over_limit += outcome.over_limit as u64;
        counts.unreadable += refused as u64;
    }

    /// Forces to disk what has arrived.
    pub async fn close(&self) {
        let Some(store) = self.store.get().cloned() else { return };
        if let Err(error) = blocking(move || store.sync()).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "metrics were not saved");
        }
    }
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(Error::internal)
}

fn milliseconds(time: Timestamp) -> i64 {
    time.micros().div_euclid(1000)
}

/// What instances are told about reporting.
pub(crate) fn order(settings: &ClusterSettings) -> MetricsOrder {
    let group = settings.observability_settings.as_ref();
    MetricsOrder { enabled: group.is_none_or(|group| group.metrics.enabled) }
}

/// Takes a report in; answers what of it was left out. While metrics are switched off, reports are
/// accepted and dropped: who sends them has not heard of it yet.
pub async fn report(
    app: &App,
    identity: &Identity,
    run: String,
    report: MetricsReport,
) -> Result<Option<String>> {
    check(&report)?;
    let found = cluster::find(&mut app.db.read().await?, identity.cluster).await?;
    let found = found.ok_or_else(|| Error::not_found("cluster"))?;
    let (settings, _) = crate::cluster::opened(app, &found)?;
    if !order(&settings).enabled {
        return Ok(None);
    }
    let store = app.metrics.store().await?;
    let (id, time) = (identity.cluster, milliseconds(app.now()));
    let app = app.clone();
    blocking(move || {
        let text::Parsed { samples, refused } = text::parse(&report.metrics);
        let report = Report {
            instance: &report.id,
            run: &run,
            round: report.round,
            time,
            truncated: report.truncated,
            samples,
        };
        let outcome = store.append_and_show(id, &report, |kept| {
            if let Some(remote) = &app.metrics.remote_write {
                let recent = kept.filter(|(_, at, _)| time - at <= remote_write::TOO_OLD);
                remote.push(recent.map(|(key, time, value)| (id, key.clone(), time, value)));
            }
        })?;
        app.metrics.count(&outcome, refused);
        Ok(warning(refused, outcome.over_limit, app.metrics.options.series_max))
    })
    .await
}

fn check(report: &MetricsReport) -> Result<()> {
    let mut violations = Vec::new();
    if report.id.is_empty() || report.id.len() > INSTANCE_BYTES_MAX {
        let rule = format!("must be 1 to {INSTANCE_BYTES_MAX} bytes long");
        violations.push(Violation::new("id", rule, "\"gateway-1\""));
    }
    if report.metrics.len() > TEXT_BYTES_MAX {
        let rule = format!("must be at most {TEXT_BYTES_MAX} bytes long: send it in parts");
        violations.push(Violation::new("metrics", rule, ""));
    }
    check::refuse(&violations)
}

fn warning(refused: usize, over_limit: usize, limit: usize) -> Option<String> {
    let lines = (refused > 0).then(|| format!("{refused} lines are not Prometheus text"));
    let series = (over_limit > 0)
        .then(|| format!("{over_limit} series are beyond the limit of {limit} for a cluster"));
    let parts: Vec<String> = lines.into_iter().chain(series).collect();
    (!parts.is_empty()).then(|| format!("left out: {}", parts.join("; ")))
}

/// What became of samples since the start.
#[must_use]
pub fn counts(app: &App) -> Counts {
    *app.metrics.counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How remote write is doing, if there is any.
#[must_use]
pub fn remote_write_state(app: &App) -> Option<RemoteWriteState> {
    app.metrics.remote_write.as_ref().map(RemoteWrite::state)
}

/// Keeps the time series in order until `shutdown`, starting now.
pub async fn keep(app: App, shutdown: CancellationToken) {
    let maintaining = telemetry::task(&app, "metrics", MAINTAIN_PATIENCE);
    let compacting = telemetry::task(&app, "metrics compaction", COMPACT_PATIENCE);
    tokio::join!(
        every(MAINTAIN, &shutdown, maintaining, || maintain(&app)),
        every(COMPACT, &shutdown, compacting, || compact(&app)),
        async {
            if let Some(remote) = &app.metrics.remote_write {
                let task = telemetry::task(&app, "remote write", remote_write::PATIENCE);
                remote.run(&task, &shutdown).await;
            }
        }
    );
}

async fn every<F: Future<Output = Result<()>>>(
    pause: Duration,
    shutdown: &CancellationToken,
    task: telemetry::Task,
    work: impl Fn() -> F,
) {
    let mut tick = tokio::time::interval(pause);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = tick.tick() => {}
        }
        let outcome = work().await;
        task.ended(&outcome);
        if let Err(error) = outcome {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "metrics could not be kept in order; trying again");
        }
    }
}

/// Closes stretches of time that are over, and forgets what is too old or too much.
pub async fn maintain(app: &App) -> Result<()> {
    let (store, now) = (app.metrics.store().await?, milliseconds(app.now()));
    blocking(move || store.maintain(now)).await
}

/// Merges the blocks of days that are over and thins out old ones. One call at a time.
pub async fn compact(app: &App) -> Result<()> {
    let (store, now) = (app.metrics.store().await?, milliseconds(app.now()));
    blocking(move || {
        while store.compact(now)? {}
        Ok(())
    })
    .await
}
