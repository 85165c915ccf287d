//! What alerts ask of the series: how many answers of each status there were in a window, and when
//! each gateway was heard of.
//!
//! Numbers are counted, not extrapolated: people compare them with thresholds. What a counter has
//! grown between two reports belongs to the moment of the second one.

use std::collections::BTreeMap;

use gantry_metrics::key::{INSTANCE, Key, Matcher, NAME};
use gantry_metrics::{Error as StoreError, Selection};
use gantry_model::{Error, Id, Result, Timestamp};

use super::milliseconds;
use crate::App;

/// How far back the report before may be for a counter's growth to count, unless the window is longer.
/// Where many reports are missing, nobody knows when it grew.
const GAP_MS: i64 = 15 * 60_000;

/// Samples that one question may read: some seconds of work.
const SAMPLES_MAX: u64 = 50_000_000;

/// Answers by status code.
pub(crate) type Answers = BTreeMap<u16, f64>;

/// Answers of a cluster in the `window_s` seconds before each of `moments`, which ascend.
pub(crate) async fn answers(
    app: &App,
    cluster: Id,
    window_s: i64,
    moments: &[Timestamp],
) -> Result<Vec<Answers>> {
    let moments: Vec<i64> = moments.iter().map(|time| milliseconds(*time)).collect();
    let (Some(first), Some(last)) = (moments.first(), moments.last()) else {
        return Ok(Vec::new());
    };
    let window = window_s.saturating_mul(1000);
    let gap = window.max(GAP_MS);
    let start = first.saturating_sub(window).saturating_sub(gap);
    let selection = selection("apisix_http_status", start, *last);
    let count = moments.len();
    let mut found =
        select(app, cluster, selection, move |found: &mut Vec<Answers>, key, samples| {
            found.resize_with(count, Answers::new);
            let Ok(code) = key.get("code").parse() else { return };
            let growth = growth(samples, gap);
            for (answers, end) in found.iter_mut().zip(&moments) {
                let grown = at(&growth, *end) - at(&growth, end.saturating_sub(window));
                if grown > 0.0 {
                    *answers.entry(code).or_default() += grown;
                }
            }
        })
        .await?;
    // Nothing was visited where there are no series.
    found.resize_with(count, Answers::new);
    Ok(found)
}

/// When the gateways of a cluster were heard of between two moments: times in ascending order, by
/// instance.
pub(crate) async fn sightings(
    app: &App,
    cluster: Id,
    start: Timestamp,
    end: Timestamp,
) -> Result<BTreeMap<String, Vec<Timestamp>>> {
    let family = "apisix_nginx_http_current_connections";
    let selection = selection(family, milliseconds(start), milliseconds(end));
    type Found = BTreeMap<String, Vec<Timestamp>>;
    let mut found = select(app, cluster, selection, |found: &mut Found, key, samples| {
        let times = found.entry(key.get(INSTANCE).to_owned()).or_default();
        let time = |(time, _): &(i64, f64)| Timestamp::from_micros(time.saturating_mul(1000));
        times.extend(samples.iter().map(time));
    })
    .await?;
    for times in found.values_mut() {
        times.sort_unstable();
        times.dedup();
    }
    Ok(found)
}

fn selection(family: &str, start: i64, end: i64) -> Selection {
    Selection { matcher: Matcher::new([(NAME, family)]), start, end, samples_max: SAMPLES_MAX }
}

/// Visits what is selected where it holds nobody up.
async fn select<T: Default + Send + 'static>(
    app: &App,
    cluster: Id,
    selection: Selection,
    mut visit: impl FnMut(&mut T, &Key, &[(i64, f64)]) + Send + 'static,
) -> Result<T> {
    let store = app.metrics.store().await?;
    let _turn = app.metrics.queries.acquire().await.map_err(Error::internal)?;
    let work = move || {
        let mut found = T::default();
        let visited =
            store.select(cluster, &selection, |key, samples| visit(&mut found, key, samples));
        visited.map(|()| found)
    };
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(|error| match error {
        StoreError::TooMany => {
            let rule = "looks at more samples than one query may read: shorten its `duration`";
            Error::invalid_field(
                "trigger_conditions",
                rule,
                "{\"duration\": 1, \"unit\": \"hour\"}",
            )
        }
        StoreError::Io(error) => Error::internal(error),
    })
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
