//! A day of traffic in fast motion: every type of metrics is what a plain computation over everything
//! that happened gives.

use gantry_app::metrics;
use gantry_model::metrics::MetricType;
use gantry_testkit::Database;

use super::reference::Reference;
use super::traffic::{Event, Plan, Traffic, play};
use super::{Answers, Question, START, TYPES, ask, report, same};
use crate::harness::Bench;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Restarts in the morning and at noon, and one while nobody hears of the gateway.
fn plan() -> Plan {
    Plan {
        seconds: DAY,
        restarts: vec![(0, 7 * HOUR + 600), (1, 12 * HOUR), (0, 15 * HOUR + 900), (0, 20 * HOUR)],
        silences: vec![
            (0, 15 * HOUR + 600..15 * HOUR + 1500),
            (1, 18 * HOUR + 300..18 * HOUR + 420),
        ],
    }
}

/// Reports everything, with the housekeeping that a server does.
async fn pass(bench: &Bench, traffic: &Traffic) {
    let mut now = 0;
    for (number, one) in traffic.reports.iter().enumerate() {
        bench.config.clock.turn(one.time - now);
        now = one.time;
        report(bench, one).await;
        if number % 500 == 0 {
            metrics::maintain(&bench.app).await.unwrap();
        }
    }
    metrics::maintain(&bench.app).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_answered_as_it_was() {
    let bench = Bench::new(Database::Sqlite).await;
    let traffic = play(&plan());
    assert_eq!(bench.config.clock.now().seconds(), START);
    pass(&bench, &traffic).await;
    let reference = Reference::new(&traffic.reports);
    let day = Question { start: HOUR, end: DAY, step: HOUR, ..Question::default() };
    let questions = [
        day,
        Question { app: Some(11), ..day },
        Question { api: Some(103), ..day },
        Question { instance: Some("gw-2"), ..day },
        Question { start: 300, end: DAY, step: 300, ..day },
        // Around a restart, at the finest.
        Question { start: 7 * HOUR, end: 8 * HOUR, step: 15, ..day },
        Question { start: 15 * HOUR, end: 16 * HOUR, step: 15, ..day },
    ];
    for question in &questions {
        for kind in TYPES {
            let found = ask(&bench, kind, question).await;
            assert!(!found.is_empty(), "{kind:?} {question:?}");
            let expected = reference.answer(kind, question);
            same(&format!("{kind:?} {question:?}"), &found, &expected);
        }
    }
    counted(&bench, &traffic, &day).await;
    thinned(&bench, &day).await;
}

/// What was answered by the hour is what happened in the hour: within two percent, as counters are
/// read at moments and the ends of hours are estimated.
async fn counted(bench: &Bench, traffic: &Traffic, day: &Question) {
    let sum = |hour: i64, of: &dyn Fn(&Event) -> f64| -> f64 {
        let inside = |event: &&Event| hour - HOUR < event.time && event.time <= hour;
        traffic.events.iter().filter(inside).map(of).sum()
    };
    let one = |holds: bool| if holds { 1.0 } else { 0.0 };
    let requests = ask(bench, MetricType::ApiRequests, day).await;
    let failures = ask(bench, MetricType::ApiFailureRequests, day).await;
    let latency = ask(bench, MetricType::ApiLatency, day).await;
    let bandwidth = ask(bench, MetricType::ApiBandwidth, day).await;
    let near = |answers: &Answers, label: &str, hour: i64, expected: f64| {
        let found = answers[&(label.to_owned(), hour)];
        let near = (found - expected).abs() < 0.02 * expected;
        assert!(near, "{label} until {hour}: {found} is not about {expected}");
    };
    let mut hour = HOUR;
    while hour <= DAY {
        let all = sum(hour, &|_| 1.0);
        near(&requests, "", hour, all);
        near(&failures, "", hour, sum(hour, &|event| one(event.code >= 400)));
        near(&latency, "request", hour, sum(hour, &|event| f64::from(event.took)) / all);
        let bytes = sum(hour, &|event| f64::from(event.bytes_out));
        near(&bandwidth, "egress", hour, bytes / 3600.0);
        hour += HOUR;
    }
}

/// Weeks later the day is kept coarsely, and hours have the same rates.
async fn thinned(bench: &Bench, day: &Question) {
    let kinds = [MetricType::ApiRequests, MetricType::ApiBandwidth, MetricType::ApiLatency];
    let mut before = Vec::new();
    for kind in kinds {
        before.push(ask(bench, kind, day).await);
    }
    bench.config.clock.turn(20 * DAY);
    metrics::maintain(&bench.app).await.unwrap();
    metrics::compact(&bench.app).await.unwrap();
    for (kind, before) in kinds.into_iter().zip(before) {
        let after = ask(bench, kind, day).await;
        assert_eq!(after.len(), before.len(), "{kind:?}");
        for (key, before) in &before {
            let near = (after[key] - before).abs() < 0.02 * before;
            assert!(near, "{kind:?} {key:?}: {} is not about {before}", after[key]);
        }
    }
    let minute = Question { start: 9 * HOUR, end: 10 * HOUR, step: 60, ..*day };
    assert_eq!(ask(bench, MetricType::ApiRequests, &minute).await.len(), 61);
}
