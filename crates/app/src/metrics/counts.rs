//! What alerts ask of the series: how many answers of each status there were in a window, and when
//! each gateway was heard of. The own store is asked, or the shared server if there is one.
//!
//! Numbers are counted, not extrapolated: people compare them with thresholds. What a counter has
//! grown between two reports belongs to the moment of the second one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gantry_metrics::key::{INSTANCE, Key, Matcher, NAME};
use gantry_metrics::{Error as StoreError, Selection};
use gantry_model::{Error, ErrorCode, Id, Result, Timestamp};
use tokio::sync::Semaphore;

use super::{milliseconds, remote_counts};
use crate::App;

/// How far back the report before may be for a counter's growth to count, unless the window is longer.
/// Where many reports are missing, nobody knows when it grew.
pub(super) const GAP_MS: i64 = 15 * 60_000;

/// Samples that one question may read.
const SAMPLES_MAX: u64 = 50_000_000;

/// How long running alerts wait for the shared server, their turn included: it must not hold up those
/// that do not ask it.
const PATIENCE: Duration = Duration::from_secs(5);

/// For whom is asked.
#[derive(Clone, Copy)]
pub(crate) enum Asker {
    /// Running alerts, which charts must not delay.
    Alerts,
    /// People, who wait in line with those who look at charts.
    People,
}

impl Asker {
    fn turns(self, app: &App) -> &Arc<Semaphore> {
        match self {
            Self::Alerts => &app.metrics.alerts,
            Self::People => &app.metrics.queries,
        }
    }
}

/// Answers by status code.
pub(crate) type Answers = BTreeMap<u16, f64>;

/// Answers by the seconds before a moment that they were counted over.
pub(crate) type Counted = BTreeMap<i64, Answers>;

/// By instance, at each of some moments, when it was heard of last.
pub(crate) type Heard = BTreeMap<String, Vec<Option<Timestamp>>>;

/// Answers of a cluster at each of `moments`, in the seconds before it that each of `windows` has.
/// Both ascend, and moments at equal distances.
pub(crate) async fn answers(
    app: &App,
    asker: Asker,
    cluster: Id,
    windows: Vec<i64>,
    moments: &[Timestamp],
) -> Result<Vec<Counted>> {
    let moments: Vec<i64> = moments.iter().map(|time| milliseconds(*time)).collect();
    let none = vec![Counted::new(); moments.len()];
    let (Some(first), Some(last), Some(longest)) =
        (moments.first(), moments.last(), windows.last())
    else {
        return Ok(none);
    };
    if let Some(remote) = &app.metrics.remote_query {
        let asked = async {
            let _turn = asker.turns(app).acquire().await.map_err(Error::internal)?;
            remote_counts::answers(remote, cluster, &windows, &moments).await.map_err(failed)
        };
        return match asker {
            Asker::Alerts => in_time(PATIENCE, asked).await,
            Asker::People => asked.await,
        };
    }
    let longest = longest.saturating_mul(1000);
    let start = first.saturating_sub(longest).saturating_sub(longest.max(GAP_MS));
    let selection = selection(Matcher::new([(NAME, "apisix_http_status")]), start, *last);
    let found =
        select(app, asker, cluster, selection, move |found: &mut Vec<Counted>, key, samples| {
            found.resize_with(moments.len(), Counted::new);
            let Ok(code) = key.get("code").parse() else { return };
            let (mut gap, mut growth) = (0, Vec::new());
            for window_s in &windows {
                let window = window_s.saturating_mul(1000);
                if gap != window.max(GAP_MS) {
                    gap = window.max(GAP_MS);
                    growth = self::growth(samples, gap);
                }
                for (counted, end) in found.iter_mut().zip(&moments) {
                    let grown = at(&growth, *end) - at(&growth, end.saturating_sub(window));
                    if grown > 0.0 {
                        *counted.entry(*window_s).or_default().entry(code).or_default() += grown;
                    }
                }
            }
        });
    // Nothing was visited where there are no series.
    found.await.map(|found| if found.is_empty() { none } else { found })
}

/// When the gateways of a cluster were heard of last at each of `moments`, if that was after `since`.
/// Moments ascend, at equal distances. Only people ask it: running alerts look at heartbeats.
pub(crate) async fn heard(
    app: &App,
    cluster: Id,
    since: Timestamp,
    moments: &[Timestamp],
) -> Result<Heard> {
    let since = milliseconds(since);
    let moments: Vec<i64> = moments.iter().map(|time| milliseconds(*time)).collect();
    let Some(last) = moments.last() else { return Ok(Heard::new()) };
    if let Some(remote) = &app.metrics.remote_query {
        let _turn = Asker::People.turns(app).acquire().await.map_err(Error::internal)?;
        return remote_counts::heard(remote, cluster, since, &moments).await.map_err(failed);
    }
    let family = "apisix_nginx_http_current_connections";
    // Every report tells several states.
    let matcher = Matcher::new([(NAME, family), ("state", "active")]);
    let selection = selection(matcher, since, *last);
    select(app, Asker::People, cluster, selection, move |found: &mut Heard, key, samples| {
        let times = found.entry(key.get(INSTANCE).to_owned()).or_default();
        times.resize(moments.len(), None);
        for (known, moment) in times.iter_mut().zip(&moments) {
            let after = samples.partition_point(|(time, _)| time <= moment);
            let newest = after.checked_sub(1).and_then(|newest| samples.get(newest));
            *known = (*known).max(newest.map(|(time, _)| timestamp(*time)));
        }
    })
    .await
}

pub(super) fn timestamp(milliseconds: i64) -> Timestamp {
    Timestamp::from_micros(milliseconds.saturating_mul(1000))
}

fn selection(matcher: Matcher, start: i64, end: i64) -> Selection {
    Selection { matcher, start, end, samples_max: SAMPLES_MAX }
}

/// Visits what is selected where it holds nobody up.
async fn select<T: Default + Send + 'static>(
    app: &App,
    asker: Asker,
    cluster: Id,
    selection: Selection,
    visit: impl FnMut(&mut T, &Key, &[(i64, f64)]) + Send + 'static,
) -> Result<T> {
    let store = app.metrics.store().await?;
    let turn = Arc::clone(asker.turns(app)).acquire_owned().await.map_err(Error::internal)?;
    let work = move || {
        // The work goes on when who asked is gone, and so does its turn.
        let _turn = turn;
        store.select(cluster, &selection, visit)
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(failed)
}

/// What comes within some time.
async fn in_time<T>(patience: Duration, asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(patience, asked).await.unwrap_or_else(|_| {
        // Words for people: nothing is wrong with this server.
        Err(Error::new(ErrorCode::Conflict, "the metrics server does not answer"))
    })
}

fn failed(error: StoreError) -> Error {
    match error {
        StoreError::TooMany => {
            let rule = "looks at more samples than one query may read: shorten its `duration`";
            let example = "{\"duration\": 1, \"unit\": \"hour\"}";
            Error::invalid_field("trigger_conditions", rule, example)
        }
        StoreError::Io(error) => Error::internal(error),
    }
}

/// What a counter has grown up to each of its samples. A smaller value than before means that it has
/// started again from zero; nobody knows when it grew while it was not heard of for longer than `gap`.
fn growth(samples: &[(i64, f64)], gap: i64) -> Vec<(i64, f64)> {
    let mut grown = 0.0;
    let mut before = None;
    let step = |&(time, value): &(i64, f64)| {
        if let Some((earlier, old)) = before.replace((time, value))
            && time - earlier <= gap
        {
            grown += if value < old { value } else { value - old };
        }
        (time, grown)
    };
    samples.iter().map(step).collect()
}

/// What had grown by a moment.
fn at(growth: &[(i64, f64)], time: i64) -> f64 {
    let after = growth.partition_point(|(sampled, _)| *sampled <= time);
    after.checked_sub(1).and_then(|newest| growth.get(newest)).map_or(0.0, |(_, grown)| *grown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_hangs_is_given_up() {
        let hung = in_time(Duration::ZERO, std::future::pending::<Result<()>>()).await;
        let problem = hung.unwrap_err();
        assert_ne!(problem.code, ErrorCode::Internal, "people may read it");
        assert_eq!(problem.to_string(), "the metrics server does not answer");
        assert_eq!(in_time(PATIENCE, async { Ok(7) }).await.unwrap(), 7);
    }

    #[test]
    fn growth_is_counted_through_resets_and_not_through_silence() {
        let samples =
            [(0, 5.0), (10, 7.0), (20, 7.0), (30, 3.0), (40, 4.0), (99, 50.0), (101, 51.0)];
        let growth = growth(&samples, 50);
        let between = |start, end| at(&growth, end) - at(&growth, start);
        assert_eq!(between(-100, -1), 0.0);
        assert_eq!(between(-100, 0), 0.0, "what was before the first sample is not known");
        assert_eq!(between(0, 10), 2.0);
        assert_eq!(between(0, 29), 2.0);
        assert_eq!(between(20, 40), 4.0, "from zero again");
        assert_eq!(between(40, 100), 0.0, "not heard of for too long");
        assert_eq!(between(40, 101), 1.0);
        assert_eq!(between(-100, 1000), 7.0);
        // Windows that meet count everything once.
        let parts: f64 = (0..20).map(|part| between(part * 10 - 10, part * 10)).sum();
        assert_eq!(parts, between(-10, 190));
    }
}
