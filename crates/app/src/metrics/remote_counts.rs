//! What alerts ask, asked of the shared server so that it gives the numbers of `counts`.
//!
//! PromQL's `increase` stretches what it saw to the ends of its window. Here it looks at values on a
//! grid that has a point at each end of the window, so that there is nothing to stretch: each point
//! stands for the newest report before it, or for the last of a run that has ended since the point
//! before. The window is a millisecond longer than it is, as Prometheus 3 leaves its start out.
//!
//! Two differences are left. A run that counts further in its first report than the run before had come
//! to, a quarter of a minute ago, looks as if that had gone on. And what grew over a silence of more than
//! an hour is not counted, where `counts` does so in windows that are longer than the silence.

use gantry_metrics::Error;
use gantry_metrics::range::Range;
use gantry_model::Id;

use super::INTERVAL_S;
use super::counts::{Counted, GAP_MS, Heard, timestamp};
use super::remote_query::RemoteQuery;
use super::remote_write::CLUSTER;

/// Longest silence that growth is counted over, however long the window is: the server looks through as
/// much for each point.
const GAP_MS_MAX: i64 = 3_600_000;
/// There are 1000 of three digits.
const CODES_MAX: usize = 1_000;
/// How long PromQL takes a value for the newest.
const LOOKBACK_MS: i64 = 300_000;
/// Points of one question about gateways, and gateways of one answer.
const HEARD_POINTS_MAX: i64 = 500;
const GATEWAYS_MAX: usize = 10_000;

/// As `counts::answers`.
pub(super) async fn answers(
    remote: &RemoteQuery,
    cluster: Id,
    windows: &[i64],
    moments: &[i64],
) -> Result<Vec<Counted>, Error> {
    let mut all = vec![Counted::new(); moments.len()];
    let Some(range) = range(moments) else { return Ok(all) };
    for window_s in windows {
        let (query, range) = growth(cluster, *window_s, range);
        for found in remote.range(&query, &range, CODES_MAX).await? {
            let Ok(code) = found.label("code").parse() else { continue };
            for (time, value) in &found.points {
                if let Some(counted) = all.get_mut(place(&range, *time)).filter(|_| *value > 0.0) {
                    counted.entry(*window_s).or_default().insert(code, *value);
                }
            }
        }
    }
    Ok(all)
}

/// The query for what was answered in a window, and the moments to ask it about.
fn growth(cluster: Id, window_s: i64, range: Range) -> (String, Range) {
    let grid = gcd(gcd(window_s, range.step / 1000), i64::from(INTERVAL_S));
    let (window, gap) = (window_s.saturating_mul(1000), GAP_MS.max(window_s.saturating_mul(1000)));
    let gap = gap.min(GAP_MS_MAX);
    // Subqueries stand at multiples of their step, whenever they are asked.
    let shift = range.start.rem_euclid(grid * 1000);
    let offset = if shift == 0 { String::new() } else { format!(" offset -{shift}ms") };
    let family = format!("apisix_http_status{{{CLUSTER}=\"{cluster}\"}}");
    // Where a run has ended, the newest value is the zero after it. Adding nothing takes the name
    // away, by which the two would be two series.
    let (step, window) = (grid * 1000 - 1, window.saturating_add(1));
    let last = format!("max_over_time({family}[{step}ms]{offset})");
    let newest = format!("last_over_time({family}[{gap}ms]{offset}) + 0");
    let query = format!("sum by (code) (increase(({last} or {newest})[{window}ms:{grid}s]))");
    (query, Range { start: range.start - shift, end: range.end - shift, ..range })
}

/// As `counts::heard`.
pub(super) async fn heard(
    remote: &RemoteQuery,
    cluster: Id,
    since: i64,
    moments: &[i64],
) -> Result<Heard, Error> {
    let mut all = Heard::new();
    let Some(range) = range(moments) else { return Ok(all) };
    let query = format!(
        "max by (instance) (timestamp(apisix_nginx_http_current_connections{{\
         {CLUSTER}=\"{cluster}\",state=\"active\"}}))"
    );
    // No report goes unseen where points are not further apart than values are taken for the newest.
    let parts = range.step.saturating_add(LOOKBACK_MS - 1) / LOOKBACK_MS;
    let step = (range.step / parts.max(1)).max(1);
    let mut start = range.start - (range.start - since).max(0) / step * step;
    while start <= range.end {
        let end = range.end.min(start + (HEARD_POINTS_MAX - 1) * step);
        let part = Range { start, end, step, ..range };
        for found in remote.range(&query, &part, GATEWAYS_MAX).await? {
            let times = all.entry(found.label("instance").to_owned());
            let times = times.or_insert_with(|| vec![None; moments.len()]);
            for (time, seconds) in &found.points {
                #[expect(clippy::cast_possible_truncation, reason = "times are far below 2^53 ms")]
                let seen = (seconds * 1000.0).round() as i64;
                // The moment at which it was known.
                let next = place(&range, time + range.step - 1);
                if let Some(known) = times.get_mut(next).filter(|_| seen > since) {
                    *known = (*known).max(Some(timestamp(seen)));
                }
            }
        }
        start = end + step;
    }
    Ok(all)
}

/// The moments as a range.
fn range(moments: &[i64]) -> Option<Range> {
    let (start, end) = (*moments.first()?, *moments.last()?);
    let step = moments.get(1).map_or(i64::from(INTERVAL_S) * 1000, |next| next - start);
    Some(Range { start, end, step: step.max(1), window: 1 })
}

/// The position of a moment; times before the first belong to it.
fn place(range: &Range, time: i64) -> usize {
    usize::try_from((time - range.start).max(0) / range.step).unwrap_or(usize::MAX)
}

fn gcd(one: i64, other: i64) -> i64 {
    if other == 0 { one.max(1) } else { gcd(other, one % other) }
}
