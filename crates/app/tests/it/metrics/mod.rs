//! Metrics: from the requests of clients to the answers about a cluster.

mod alerts;
mod day;
mod prometheus;
mod reference;
mod traffic;

use gantry_app::gateway::{Identity, Via};
use gantry_app::metrics;
use gantry_model::metrics::{MetricType, MetricsQuery, MetricsReport};
use gantry_model::{ErrorCode, Id, Timestamp};
use gantry_testkit::Database;
use std::collections::BTreeMap;

use self::traffic::Report;
use crate::harness::Bench;

/// 2027-01-15T08:00:00Z, where the clock of a bench begins; a whole hour.
const START: i64 = 1_800_000_000;

const TYPES: [MetricType; 7] = [
    MetricType::ApiRequests,
    MetricType::ApiFailureRequests,
    MetricType::ApiStatusDist,
    MetricType::ApiLatency,
    MetricType::ApiBandwidth,
    MetricType::ApiConnections,
    MetricType::ApiQps,
];

/// Values by label (empty if there is one series only) and by second.
type Answers = BTreeMap<(String, i64), f64>;

/// What is asked about; times in seconds after [`START`].
#[derive(Clone, Copy, Debug, Default)]
struct Question {
    start: i64,
    end: i64,
    step: i64,
    app: Option<i64>,
    api: Option<i64>,
    instance: Option<&'static str>,
}

/// Sends a report as a gateway does.
async fn report(bench: &Bench, report: &Report) {
    let via = Via::Certificate { serial: "01".into() };
    let identity = Identity { cluster: bench.cluster(), org: bench.first.organization, via };
    let body = MetricsReport {
        id: report.instance.to_owned(),
        metrics: report.text(),
        round: None,
        truncated: false,
    };
    let run = format!("run-{}", report.run);
    let warning = metrics::report(&bench.app, &identity, run, body).await.unwrap();
    assert_eq!(warning, None);
}

async fn ask(bench: &Bench, kind: MetricType, question: &Question) -> Answers {
    let id = |id: Option<i64>| id.map(|id| Id::new(id).unwrap());
    let query = MetricsQuery {
        start: Timestamp::from_seconds(START + question.start),
        end: Timestamp::from_seconds(START + question.end),
        step: question.step,
        app_id: id(question.app),
        api_id: id(question.api),
        instance_id: question.instance.map(str::to_owned),
    };
    let found = metrics::query(&bench.cx, bench.cluster(), kind, query).await.unwrap();
    let mut answers = Answers::new();
    for series in found.result {
        let label = series.metric.into_values().next().unwrap_or_default();
        for point in series.values {
            let time = point.0.as_i64().unwrap() - START;
            answers.insert((label.clone(), time), point.1.parse().unwrap());
        }
    }
    answers
}

/// Both have the same points, and their values are the same but for rounding.
#[track_caller]
fn same(what: &str, found: &Answers, expected: &Answers) {
    let keys = |answers: &Answers| answers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(found), keys(expected), "{what}");
    for ((key, found), expected) in found.iter().zip(expected.values()) {
        let near = (found - expected).abs() <= 1e-9 * expected.abs().max(1e-9);
        assert!(near, "{what}, {key:?}: {found} is not {expected}");
    }
}

/// Few samples, but a value at each of many moments for each of many series.
#[tokio::test(flavor = "multi_thread")]
async fn work_without_end_is_refused() {
    let bench = Bench::new(Database::Sqlite).await;
    let values = (0..5_000).map(|route| {
        let labels = [("code", "200".to_owned()), ("route", route.to_string())];
        (("apisix_http_status", BTreeMap::from(labels)), 1.0)
    });
    let values = values.collect();
    report(&bench, &Report { time: 0, instance: "gw-1", run: 0, values }).await;
    let query = |seconds: i64| MetricsQuery {
        start: Timestamp::from_seconds(START),
        end: Timestamp::from_seconds(START + seconds),
        step: 1,
        app_id: None,
        api_id: None,
        instance_id: None,
    };
    let ask = async |seconds| {
        metrics::query(&bench.cx, bench.cluster(), MetricType::ApiRequests, query(seconds)).await
    };
    assert_eq!(ask(10_999).await.unwrap_err().code, ErrorCode::InvalidArgument);
    ask(60).await.unwrap();
}
