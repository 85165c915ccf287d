//! The own store and a Prometheus that was sent the same give the same answers.

use std::time::Duration;

use gantry_app::metrics::{self, RemoteOptions, RemoteWriteState};
use gantry_model::metrics::MetricType;
use gantry_testkit::{Database, Prometheus, redis};
use tokio_util::sync::CancellationToken;

use super::traffic::{Plan, Report, play};
use super::{Question, TYPES, ask, report, same};
use crate::harness::Bench;

const HOUR: i64 = 3600;

/// A control plane that writes to a Prometheus and asks it.
pub(super) struct Remote {
    pub bench: Bench,
    shutdown: CancellationToken,
    keeper: tokio::task::JoinHandle<()>,
}

impl Remote {
    pub async fn start(base: &str) -> Self {
        let remote = RemoteOptions {
            write: Some(format!("{base}/api/v1/write")),
            query: Some(base.to_owned()),
            headers: Vec::new(),
        };
        // What reqwest speaks TLS with, once in a process.
        let _ = gantry_testkit::client();
        let bench = Bench::with(Database::Sqlite, |config| config.metrics_remote = remote).await;
        let shutdown = CancellationToken::new();
        let keeper = tokio::spawn(metrics::keep(bench.app.clone(), shutdown.clone()));
        Self { bench, shutdown, keeper }
    }

    fn state(&self) -> RemoteWriteState {
        metrics::remote_write_state(&self.bench.app).unwrap()
    }

    /// Waits until the state is as wanted.
    pub async fn until(&self, what: &str, holds: impl Fn(&RemoteWriteState) -> bool) {
        let limit = tokio::time::Instant::now() + Duration::from_secs(30);
        let mut tick = tokio::time::interval(Duration::from_millis(10));
        while !holds(&self.state()) {
            assert!(tokio::time::Instant::now() < limit, "{what}: not within 30 s");
            tick.tick().await;
        }
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        self.keeper.await.unwrap();
    }
}

pub(super) async fn pass(benches: &[&Bench], reports: &[Report]) {
    let mut now = 0;
    for one in reports {
        for bench in benches {
            bench.config.clock.turn(one.time - now);
            report(bench, one).await;
        }
        now = one.time;
    }
}

/// A restart that is heard of at once, one after a long silence, and a short silence.
pub(super) fn plan() -> Plan {
    Plan {
        seconds: HOUR,
        restarts: vec![(0, 1200), (1, 2405)],
        silences: vec![(1, 2400..2700), (0, 600..700)],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_answer_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path()).await;
    let base = prometheus.url("");
    let (own, remote, other) = (
        Bench::new(Database::Sqlite).await,
        Remote::start(&base).await,
        Remote::start(&base).await,
    );
    let traffic = play(&plan());
    pass(&[&own, &remote.bench], &traffic.reports).await;
    // Somebody else's gateway has the same names, and tries to count for the first cluster.
    let mut foreign: Vec<Report> = traffic.reports.iter().take(40).cloned().collect();
    let victim = remote.bench.cluster().to_string();
    for one in &mut foreign {
        for ((_, mut labels), value) in std::mem::take(&mut one.values) {
            labels.insert("cluster", victim.clone());
            one.values.insert(("apisix_http_status", labels), value + 1e6);
        }
    }
    pass(&[&other.bench], &foreign).await;
    for one in [&remote, &other] {
        one.until("all samples arrive", |state| state.waiting == 0).await;
        let state = one.state();
        assert!(state.sent > 200, "{state:?}");
        assert_eq!((state.dropped, state.refused), (0, 0), "{state:?}");
    }

    let all = Question { start: 300, end: HOUR, step: 300, ..Question::default() };
    for question in [
        all,
        Question { app: Some(11), ..all },
        Question { api: Some(103), ..all },
        Question { instance: Some("gw-2"), ..all },
        Question { app: Some(12), api: Some(101), ..all },
        Question { start: 15, step: 15, ..all },
        Question { start: 0, step: 60, ..all },
    ] {
        for kind in TYPES {
            let found = ask(&remote.bench, kind, &question).await;
            let expected = ask(&own, kind, &question).await;
            same(&format!("{kind:?} {question:?}"), &found, &expected);
        }
    }
    assert!(ask(&other.bench, MetricType::ApiConnections, &all).await.is_empty());
    assert!(!ask(&other.bench, MetricType::ApiRequests, &all).await.is_empty());
    remote.stop().await;
    other.stop().await;
}

/// The zeros at which its counters began are too old for a Prometheus that has heard of others since.
#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_back_after_hours_is_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let prometheus = Prometheus::start(folder.path()).await;
    let (own, remote) =
        (Bench::new(Database::Sqlite).await, Remote::start(&prometheus.url("")).await);
    let plan = Plan { seconds: 3 * HOUR, restarts: vec![(1, 700)], silences: vec![(1, 600..9000)] };
    let traffic = play(&plan);
    pass(&[&own, &remote.bench], &traffic.reports).await;
    remote.until("all samples arrive", |state| state.waiting == 0).await;
    assert_eq!(remote.state().refused, 0);
    let question = Question { start: 9600, end: 3 * HOUR, step: 60, ..Question::default() };
    let found = ask(&remote.bench, MetricType::ApiRequests, &question).await;
    let expected = ask(&own, MetricType::ApiRequests, &question).await;
    same("requests since it is back", &found, &expected);
    remote.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_do_not_wait_for_a_server_that_is_down() {
    let folder = tempfile::tempdir().unwrap();
    let address = redis::free_port();
    let remote = Remote::start(&format!("http://{address}")).await;
    let own = Bench::new(Database::Sqlite).await;
    let plan = Plan { seconds: 300, restarts: Vec::new(), silences: Vec::new() };
    let traffic = play(&plan);
    pass(&[&own, &remote.bench], &traffic.reports).await;
    remote.until("it is tried again", |state| state.failures > 0 && state.waiting > 100).await;
    let question = Question { start: 60, end: 300, step: 60, ..Question::default() };
    let start = super::START;
    let query = gantry_model::metrics::MetricsQuery {
        start: gantry_model::Timestamp::from_seconds(start),
        end: gantry_model::Timestamp::from_seconds(start + 60),
        step: 60,
        app_id: None,
        api_id: None,
        instance_id: None,
    };
    let bench = &remote.bench;
    let refused = metrics::query(&bench.cx, bench.cluster(), MetricType::ApiQps, query).await;
    assert_eq!(refused.unwrap_err().code, gantry_model::ErrorCode::Internal);

    let _prometheus = Prometheus::start_at(address, folder.path()).await;
    remote.until("all samples arrive", |state| state.waiting == 0).await;
    assert_eq!(remote.state().dropped, 0);
    for kind in TYPES {
        let found = ask(&remote.bench, kind, &question).await;
        same(&format!("{kind:?}"), &found, &ask(&own, kind, &question).await);
    }
    remote.stop().await;
}
