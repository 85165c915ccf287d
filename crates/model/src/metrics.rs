//! What gateways count: their reports, and the series that are answered about a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Id, Timestamp};

/// A report of one instance (contract, schema `MetricsReport`); `round` and `truncated` are Gantry's
/// additions, absent from other gateways.
#[derive(Clone, Debug, Deserialize)]
pub struct MetricsReport {
    /// Id of the instance.
    pub id: String,
    /// Prometheus text.
    pub metrics: String,
    /// Numbers the reports of a run; parts of a report that was too large for one call share it.
    #[serde(default)]
    pub round: Option<u64>,
    /// Series were left out for want of room.
    #[serde(default)]
    pub truncated: bool,
}

/// Contract, parameter `metric_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricType {
    ApiRequests,
    ApiFailureRequests,
    ApiStatusDist,
    ApiLatency,
    ApiBandwidth,
    ApiConnections,
    ApiQps,
}

/// Which part of the series is wanted.
#[derive(Clone, Debug, Deserialize)]
pub struct MetricsQuery {
    pub start: Timestamp,
    pub end: Timestamp,
    /// Seconds between points.
    pub step: i64,
    #[serde(default)]
    pub api_id: Option<Id>,
    #[serde(default)]
    pub app_id: Option<Id>,
    #[serde(default)]
    pub instance_id: Option<String>,
}

/// Series in the form of a Prometheus range query (contract, schema `MetricsPayload`).
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricsPayload {
    pub result_type: ResultType,
    pub result: Vec<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultType {
    Matrix,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Series {
    /// Labels.
    pub metric: BTreeMap<&'static str, String>,
    pub values: Vec<Point>,
}

/// Unix time in seconds and value as text. Moments without a value have no point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point(pub serde_json::Number, pub String);

impl Point {
    #[must_use]
    pub fn new(milliseconds: i64, value: f64) -> Self {
        let whole = milliseconds.rem_euclid(1000) == 0;
        // Times in milliseconds are exact in a float for the next 280,000 years.
        #[expect(clippy::cast_precision_loss, reason = "see above")]
        let fraction = || serde_json::Number::from_f64(milliseconds as f64 / 1000.0);
        let time = if whole { None } else { fraction() };
        Self(time.unwrap_or_else(|| (milliseconds.div_euclid(1000)).into()), value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_written_as_prometheus_writes_them() {
        let text = |point: &Point| serde_json::to_string(point).unwrap();
        assert_eq!(text(&Point::new(1_663_592_228_000, 2.0)), "[1663592228,\"2\"]");
        assert_eq!(text(&Point::new(1_663_592_228_177, 0.25)), "[1663592228.177,\"0.25\"]");
    }
}
