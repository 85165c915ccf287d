//! Values of a series at regular moments, by PromQL's rules, so that a Prometheus over the same
//! samples answers the same:
//!
//! - A window is open at its start and closed at its end.
//! - `increase` needs two samples. A value below the one before it is a reset: the counter has
//!   started again from zero.
//! - The increase between the first and the last sample is stretched to the window's ends where a
//!   sample stands nearer to them than 1.1 times the usual distance; by half that distance where
//!   none does; and at the start never beyond the moment the counter would have been zero.
//! - `rate` is the increase over the window's length; `last` is the newest value in the window.
//!
//! These are the rules of Prometheus 3. Before it, windows were closed at their start too, and a
//! counter that began between half and 1.1 times the usual distance before the first sample counted
//! from there although no sample stood near.

/// What is computed over each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// Per second.
    Rate,
    Last,
}

/// The moments that are asked about; milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    pub start: i64,
    /// Not before `start`.
    pub end: i64,
    /// At least 1.
    pub step: i64,
    /// How far each moment looks back, at least 1.
    pub window: i64,
}

impl Range {
    /// Number of moments.
    #[must_use]
    pub fn points(&self) -> usize {
        let steps = self.end.saturating_sub(self.start) / self.step.max(1);
        usize::try_from(steps).unwrap_or(0).saturating_add(1)
    }

    /// The moment of a point.
    #[must_use]
    pub fn time(&self, point: usize) -> i64 {
        let point = i64::try_from(point).unwrap_or(i64::MAX);
        self.start.saturating_add(point.saturating_mul(self.step))
    }

    /// Calls `add` with each point that has a value.
    pub fn evaluate(
        &self,
        function: Function,
        samples: &[(i64, f64)],
        mut add: impl FnMut(usize, f64),
    ) {
        let (mut first, mut after) = (0, 0);
        for point in 0..self.points() {
            let end = self.time(point);
            let start = end.saturating_sub(self.window);
            let skip = |from: usize, until: i64| {
                let rest = samples.get(from..).unwrap_or_default();
                from + rest.iter().take_while(|(time, _)| *time <= until).count()
            };
            first = skip(first, start);
            after = skip(after.max(first), end);
            let window = samples.get(first..after).unwrap_or_default();
            let value = match function {
                Function::Rate => increase(window, start, end).map(|up| up / seconds(self.window)),
                Function::Last => window.last().map(|(_, value)| *value),
            };
            if let Some(value) = value {
                add(point, value);
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "spans of time are far below 2^53 ms")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

/// How much a counter has grown between `start` and `end`, of which all `samples` are.
#[must_use]
pub fn increase(samples: &[(i64, f64)], start: i64, end: i64) -> Option<f64> {
    let [(first, start_value), .., (last, end_value)] = samples else { return None };
    let resets = samples.windows(2).filter_map(|pair| match pair {
        [(_, old), (_, new)] if new < old => Some(old),
        _ => None,
    });
    let grown = end_value - start_value + resets.sum::<f64>();
    let sampled = seconds(last - first);
    let distance = sampled / f64::from(u32::try_from(samples.len() - 1).unwrap_or(u32::MAX));
    let near = |gap: f64| if gap >= distance * 1.1 { distance / 2.0 } else { gap };
    let mut before = near(seconds(first - start));
    if grown > 0.0 && *start_value >= 0.0 {
        before = before.min(sampled * (start_value / grown));
    }
    let after = near(seconds(end - last));
    Some(grown * ((sampled + before + after) / sampled))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows and results worked out by hand from the rules.
    #[test]
    fn increases_follow_the_rules() {
        let counter = |from: f64| [(15_000, from), (30_000, from + 10.0), (45_000, from + 20.0)];
        for (samples, start, end, expected) in [
            // Both ends are near: 20 in 30 s become 40 in 60 s.
            (&counter(100.0)[..], 0, 60_000, Some(40.0)),
            // Zero was 7.5 s before the first sample.
            (&counter(5.0), 0, 60_000, Some(20.0 * 52.5 / 30.0)),
            // It started from zero.
            (&counter(0.0), 0, 60_000, Some(30.0)),
            // Ends that are far get half a distance each.
            (&counter(100.0), -45_000, 105_000, Some(30.0)),
            // A reset: 90, then 3 after zero.
            (&[(0, 10.0), (10_000, 100.0), (20_000, 3.0)], 0, 20_000, Some(93.0)),
            (&[(0, 7.0), (10_000, 7.0)], 0, 20_000, Some(0.0)),
            (&[(0, 7.0)], 0, 20_000, None),
            (&[], 0, 20_000, None),
        ] {
            assert_eq!(increase(samples, start, end), expected, "{samples:?}");
        }
    }

    #[test]
    fn windows_are_open_at_their_start() {
        let range = Range { start: 10_000, end: 40_000, step: 10_000, window: 10_000 };
        let samples = [(0, 1.0), (10_000, 2.0), (40_000, 3.0)];
        let mut found = Vec::new();
        range.evaluate(Function::Last, &samples, |point, value| found.push((point, value)));
        assert_eq!(found, [(0, 2.0), (3, 3.0)]);
        assert_eq!(Range { start: 0, end: 59, step: 15, window: 15 }.points(), 4);
    }
}
