//! Requests by operation and status, and how long they took.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::exposition::{Exposition, Kind};

/// Upper ends of latencies, in milliseconds; the last bucket has none.
const BUCKETS_MS: [u64; 10] = [1, 2, 5, 10, 25, 50, 100, 250, 1_000, 5_000];

/// One entry per operation: there are some hundred.
#[derive(Default)]
pub(super) struct Requests(Mutex<BTreeMap<&'static str, Operation>>);

#[derive(Clone, Default)]
struct Operation {
    statuses: BTreeMap<u16, u64>,
    /// Requests in each bucket, and those beyond.
    buckets: [u64; BUCKETS_MS.len()],
    seconds: f64,
}

impl Requests {
    pub fn count(&self, operation: &'static str, status: u16, took: Duration) {
        let mut operations = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let operation = operations.entry(operation).or_default();
        *operation.statuses.entry(status).or_default() += 1;
        operation.seconds += took.as_secs_f64();
        let fitting = BUCKETS_MS.iter().position(|end| took <= Duration::from_millis(*end));
        if let Some(bucket) = fitting.and_then(|bucket| operation.buckets.get_mut(bucket)) {
            *bucket += 1;
        }
    }

    pub fn write(&self, out: &mut Exposition) {
        let operations = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "Requests answered, by operation of the contract and HTTP status.";
        out.family("gantry_requests_total", Kind::Counter, help);
        for (name, operation) in &operations {
            for (status, count) in &operation.statuses {
                let status = status.to_string();
                let labels = [("operation", *name), ("status", status.as_str())];
                out.sample("gantry_requests_total", &labels, *count);
            }
        }
        let name = "gantry_request_duration_seconds";
        out.family(name, Kind::Histogram, "Time until requests were answered.");
        for (operation, found) in &operations {
            let count: u64 = found.statuses.values().sum();
            let mut below = 0;
            for (end, inside) in BUCKETS_MS.iter().zip(found.buckets) {
                below += inside;
                #[expect(clippy::cast_precision_loss, reason = "small numbers")]
                let end = (*end as f64 / 1000.0).to_string();
                let labels = [("operation", *operation), ("le", end.as_str())];
                out.sample(&format!("{name}_bucket"), &labels, below);
            }
            let labels = [("operation", *operation), ("le", "+Inf")];
            out.sample(&format!("{name}_bucket"), &labels, count);
            let labels = [("operation", *operation)];
            out.sample(&format!("{name}_sum"), &labels, found.seconds);
            out.sample(&format!("{name}_count"), &labels, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_buckets() {
        let requests = Requests::default();
        for millis in [1, 3, 30_000] {
            requests.count("login", 200, Duration::from_millis(millis));
        }
        requests.count("login", 401, Duration::from_millis(4));
        let mut out = Exposition::default();
        requests.write(&mut out);
        let text = out.finish();
        for line in [
            "gantry_requests_total{operation=\"login\",status=\"200\"} 3",
            "gantry_requests_total{operation=\"login\",status=\"401\"} 1",
            "gantry_request_duration_seconds_bucket{operation=\"login\",le=\"0.001\"} 1",
            "gantry_request_duration_seconds_bucket{operation=\"login\",le=\"0.005\"} 3",
            "gantry_request_duration_seconds_bucket{operation=\"login\",le=\"5\"} 3",
            "gantry_request_duration_seconds_bucket{operation=\"login\",le=\"+Inf\"} 4",
            "gantry_request_duration_seconds_count{operation=\"login\"} 4",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
