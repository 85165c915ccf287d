//! Answers from any server that speaks PromQL, at `/api/v1/query_range`.

use std::collections::BTreeMap;

use gantry_metrics::range::Range;
use gantry_model::metrics::{MetricType, MetricsPayload, Point, ResultType, Series};
use gantry_model::{Error, Result};
use serde::Deserialize;

use super::formula::Labels;
use super::promql::expression;
use super::query::{SERIES_MAX, Scope, too_much};
use super::remote::Remote;

/// Bytes of an answer: 600 series of 11,000 points are far more than anybody looks at.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// The server that queries go to.
pub(crate) struct RemoteQuery(Remote);

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Found>,
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

impl RemoteQuery {
    pub fn new(remote: Remote) -> Self {
        Self(remote)
    }

    /// The series of one type.
    pub(super) async fn answer(
        &self,
        scope: &Scope,
        kind: MetricType,
        range: &Range,
    ) -> Result<MetricsPayload> {
        let (text, label) = expression(kind, scope, range.step / 1000, range.window / 1000);
        let (start, end) = (decimal(range.start), decimal(range.end));
        let step = (range.step / 1000).to_string();
        let form = [("query", &text), ("start", &start), ("end", &end), ("step", &step)];
        let body = serde_urlencoded::to_string(form).map_err(Error::internal)?;
        let request = self.0.post("/api/v1/query_range");
        let kind = "application/x-www-form-urlencoded";
        let request = request.header(reqwest::header::CONTENT_TYPE, kind).body(body);
        let mut response = request.send().await.map_err(|error| failed(&error))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| failed(&error))? {
            if bytes.len() + part.len() > ANSWER_BYTES_MAX {
                return Err(too_much(range));
            }
            bytes.extend_from_slice(&part);
        }
        let Reply { error, data } = serde_json::from_slice(&bytes).unwrap_or_else(|error| Reply {
            error: format!("the answer is not Prometheus': {error}"),
            data: None,
        });
        let Some(data) = data.filter(|_| status.is_success()) else {
            return Err(Error::internal(format!("metrics server: {status}: {error}")));
        };
        if data.result.len() > SERIES_MAX {
            return Err(too_much(range));
        }
        Ok(payload(data, label))
    }
}

fn payload(data: Data, label: Option<&'static str>) -> MetricsPayload {
    let series = |found: Found| {
        let text = |name: &str| found.metric.get(name).cloned().unwrap_or_default();
        let metric: Labels = label.into_iter().map(|name| (name, text(name))).collect();
        let value = |(time, value): &(f64, String)| {
            let value = value.parse::<f64>().ok().filter(|value| value.is_finite())?;
            // Times come back as they were asked for, in seconds with three decimals.
            #[expect(clippy::cast_possible_truncation, reason = "times are far below 2^53 ms")]
            let time = (time * 1000.0).round() as i64;
            Some(Point::new(time, value))
        };
        Series { metric, values: found.values.iter().filter_map(value).collect() }
    };
    let mut result: Vec<Series> = data.result.into_iter().map(series).collect();
    result.retain(|series| !series.values.is_empty());
    result.sort_by(|one, next| one.metric.cmp(&next.metric));
    MetricsPayload { result_type: ResultType::Matrix, result }
}

/// Milliseconds as seconds.
fn decimal(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000))
}

fn failed(error: &reqwest::Error) -> Error {
    Error::internal(format!("metrics server: {}", super::remote::reason(error)))
}
