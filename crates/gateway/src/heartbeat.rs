//! Tells the control plane that this gateway lives and which revision it serves.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    metrics::Orders,
    status::{Status, VERSION},
};

/// How often, unless the control plane says otherwise.
const INTERVAL: Duration = Duration::from_secs(10);
/// Until the first attempt after one that failed; each takes twice as long as the one before, up to the
/// interval.
const RETRY: Duration = Duration::from_secs(1);
/// The longest a control plane's name is looked up.
const LOOKUP: Duration = Duration::from_secs(1);
/// Bounds what the control plane may say.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=600;
const METRICS_SIZES: std::ops::RangeInclusive<usize> = 65_536..=16_777_216;
/// Longer than any healthy answer takes, shorter than the interval.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Who reports, where to, and by which client.
pub struct Heartbeat {
    /// `https://host:port` of the control plane.
    pub endpoint: String,
    pub client: reqwest::Client,
    pub instance_id: String,
    /// New at every start.
    pub run_id: String,
    pub hostname: String,
    /// The listeners that take traffic.
    pub listeners: Vec<SocketAddr>,
    pub status: Arc<Status>,
    /// Where what the control plane says about reports of metrics goes.
    pub metrics: watch::Sender<Orders>,
    /// Counts how often the control plane has said that something else should be in force.
    pub doubts: watch::Sender<u64>,
}

/// Requests since the start, and those that no answered heartbeat has reported. A heartbeat whose
/// answer is lost reports the latter twice, so Gantry goes by the former.
struct Counted {
    total: u64,
    new: u64,
}

#[derive(Deserialize, Default)]
struct Envelope {
    #[serde(default)]
    payload: Answer,
}

#[derive(Deserialize, Default)]
struct Answer {
    /// Seconds.
    heartbeat_interval: Option<u64>,
    /// Absent: they are not wanted.
    #[serde(default)]
    metrics: Metrics,
    /// Seconds.
    telemetry_collect_interval: Option<u64>,
    max_metrics_size: Option<usize>,
    /// What was reported is not what should be in force.
    #[serde(default)]
    resync: bool,
}

#[derive(Deserialize, Default)]
struct Metrics {
    #[serde(default)]
    enabled: bool,
}

impl Answer {
    /// Takes over what was said and is within bounds.
    fn orders(&self, orders: &mut Orders) -> bool {
        let before = *orders;
        orders.enabled = self.metrics.enabled;
        let interval = self.telemetry_collect_interval.filter(|wanted| INTERVALS.contains(wanted));
        orders.interval = interval.map_or(orders.interval, Duration::from_secs);
        let size = self.max_metrics_size.filter(|wanted| METRICS_SIZES.contains(wanted));
        orders.size = size.unwrap_or(orders.size);
        *orders != before
    }
}

impl Heartbeat {
    /// Reports at every interval and at once after each change, until `shutdown`; once more when
    /// nothing happens any more, so that the last requests are counted too.
    pub async fn run(self, shutdown: CancellationToken, quiet: CancellationToken) {
        self.repeat(shutdown).await;
        quiet.cancelled().await;
        if let Err(error) = self.beat().await {
            tracing::warn!(%error, "the last heartbeat did not arrive");
        }
    }

    async fn repeat(&self, shutdown: CancellationToken) {
        let mut applied = self.status.watch();
        let mut interval = INTERVAL;
        let mut retry = RETRY;
        loop {
            // Whatever is applied while this report is under way makes one more, not many.
            applied.mark_unchanged();
            let beat = tokio::select! {
                beat = self.beat() => beat,
                () = shutdown.cancelled() => return,
            };
            let pause = match beat {
                Ok(said) => {
                    interval = said.unwrap_or(interval);
                    retry = RETRY;
                    interval
                }
                // Somebody may wait for what it would have said.
                Err(error) => {
                    tracing::warn!(%error, "a heartbeat did not arrive");
                    let pause = retry.min(interval);
                    retry = pause.saturating_mul(2);
                    pause
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = applied.changed() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    /// Reports once; answers the interval the control plane wants.
    async fn beat(&self) -> Result<Option<Duration>, reqwest::Error> {
        let counted = Counted { total: self.status.requests(), new: self.status.unreported() };
        let ip = self.ip().await.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let answer: Envelope = self
            .client
            .post(format!("{}/api/v1/dp/instance/heartbeat", self.endpoint))
            .header("X-APISEVEN-Instance-Id", &self.instance_id)
            .header("X-APISEVEN-Run-Id", &self.run_id)
            .timeout(TIMEOUT)
            .json(&self.report(&counted, ip))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        self.status.reported(counted.new);
        self.metrics.send_if_modified(|orders| answer.payload.orders(orders));
        if answer.payload.resync {
            self.doubts.send_modify(|doubts| *doubts = doubts.wrapping_add(1));
        }
        let wanted =
            answer.payload.heartbeat_interval.filter(|seconds| INTERVALS.contains(seconds));
        Ok(wanted.map(Duration::from_secs))
    }

    fn report(&self, counted: &Counted, ip: IpAddr) -> Value {
        let applied = self.status.applied();
        json!({
            "id": self.instance_id,
            "hostname": self.hostname,
            "ip": ip.to_string(),
            "domain": "",
            "api_calls": counted.new,
            "api_calls_total": counted.total,
            "version": VERSION,
            "etcd_reachable": self.status.reachable(),
            "config_version": applied.revision,
            "ports": self.listeners.iter().map(SocketAddr::port).collect::<Vec<_>>(),
            "digest": applied.digest,
            "problems": applied.problems,
        })
    }

    /// The address of this machine as its network knows it: the one a packet to the control plane
    /// would leave from. No packet is sent.
    async fn ip(&self) -> Option<IpAddr> {
        let (_, target) = self.endpoint.split_once("://")?;
        let known = tokio::time::timeout(LOOKUP, tokio::net::lookup_host(target)).await.ok()?;
        let target = known.ok()?.next()?;
        let own = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = std::net::UdpSocket::bind(own).ok()?;
        socket.connect(target).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }
}
