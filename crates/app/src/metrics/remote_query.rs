//! Answers from any server that speaks PromQL, at `/api/v1/query_range`.

use std::collections::BTreeMap;

use gantry_metrics::Error as StoreError;
use gantry_metrics::range::Range;
use gantry_model::metrics::{MetricType, MetricsPayload, Point, ResultType, Series};
use gantry_model::{Error, Result};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;

use super::formula::Labels;
use super::promql::expression;
use super::query::{SERIES_MAX, Scope, too_much};
use super::remote::{Remote, reason};

/// Bytes of an answer, whatever is asked.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes of one value with its time, generously.
const POINT_BYTES: usize = 40;
/// Bytes of the rest of an answer: labels, and errors in words.
const FRAME_BYTES: usize = 1 << 20;

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
    result: Vec<RawSeries>,
}

#[derive(Deserialize)]
struct RawSeries {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// A series that was found.
pub(super) struct Found {
    metric: BTreeMap<String, String>,
    /// Times in milliseconds, and values that are numbers.
    pub points: Vec<(i64, f64)>,
}

impl Found {
    /// The value of a label; empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.metric.get(name).map_or("", String::as_str)
    }
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
        let found = self.range(&text, range, SERIES_MAX).await;
        let found = found.map_err(|error| match error {
            StoreError::TooMany => too_much(range),
            StoreError::Io(error) => Error::internal(error),
        })?;
        let work = move || payload(&found, label);
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)
    }

    /// Asks about the moments of a range, and for `series_max` series at most.
    pub(super) async fn range(
        &self,
        query: &str,
        range: &Range,
        series_max: usize,
    ) -> Result<Vec<Found>, StoreError> {
        let (start, end, step) = (decimal(range.start), decimal(range.end), decimal(range.step));
        let form = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
        let body = serde_urlencoded::to_string(form).map_err(failed)?;
        let request = self.0.post("/api/v1/query_range").body(body);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let limit = series_max.saturating_mul(range.points()).saturating_mul(POINT_BYTES);
        let limit = limit.saturating_add(FRAME_BYTES).min(ANSWER_BYTES_MAX);
        let mut response = request.send().await.map_err(|error| failed(reason(&error)))?;
        let status = response.status();
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| failed(reason(&error)))? {
            if bytes.len() + part.len() > limit {
                return Err(StoreError::TooMany);
            }
            bytes.extend_from_slice(&part);
        }
        // An answer may take a second to read, which nobody else should wait for.
        let found = tokio::task::spawn_blocking(move || parse(status, &bytes));
        let found = found.await.map_err(failed)??;
        if found.len() > series_max { Err(StoreError::TooMany) } else { Ok(found) }
    }
}

fn parse(status: StatusCode, bytes: &[u8]) -> Result<Vec<Found>, StoreError> {
    let Reply { error, data } = serde_json::from_slice(bytes).unwrap_or_else(|error| Reply {
        error: format!("the answer is not Prometheus': {error}"),
        data: None,
    });
    match data.filter(|_| status.is_success()) {
        Some(data) => Ok(data.result.into_iter().map(found).collect()),
        // Its own limit of samples.
        None if status == StatusCode::UNPROCESSABLE_ENTITY
            && error.contains("too many samples") =>
        {
            Err(StoreError::TooMany)
        }
        None => Err(failed(format!("{status}: {error}"))),
    }
}

fn found(RawSeries { metric, values }: RawSeries) -> Found {
    let point = |(time, value): (f64, String)| {
        let value = value.parse::<f64>().ok().filter(|value| value.is_finite())?;
        // Times come back as they were asked for, in seconds with three decimals.
        #[expect(clippy::cast_possible_truncation, reason = "times are far below 2^53 ms")]
        let time = (time * 1000.0).round() as i64;
        Some((time, value))
    };
    Found { metric, points: values.into_iter().filter_map(point).collect() }
}

fn payload(found: &[Found], label: Option<&'static str>) -> MetricsPayload {
    let series = |found: &Found| {
        let metric: Labels =
            label.into_iter().map(|name| (name, found.label(name).to_owned())).collect();
        let values = found.points.iter().map(|(time, value)| Point::new(*time, *value));
        Series { metric, values: values.collect() }
    };
    let mut result: Vec<Series> = found.iter().map(series).collect();
    result.retain(|series| !series.values.is_empty());
    result.sort_by(|one, next| one.metric.cmp(&next.metric));
    MetricsPayload { result_type: ResultType::Matrix, result }
}

/// Milliseconds as seconds.
fn decimal(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds.div_euclid(1000), milliseconds.rem_euclid(1000))
}

fn failed(why: impl std::fmt::Display) -> StoreError {
    StoreError::Io(std::io::Error::other(format!("metrics server: {why}")))
}
