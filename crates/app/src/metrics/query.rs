//! What is computed of the series for each type of metrics (facts §23). In PromQL, with `step` in
//! seconds and `w` the larger of `step` and a minute:
//!
//! | Type | Expression |
//! |---|---|
//! | api-requests | `sum(rate(apisix_http_status[w])) * step` |
//! | api-failure-requests | the same of `code=~"[4-9].."` |
//! | api-status-dist | `sum by (code) (rate(apisix_http_status[w])) * step` |
//! | api-qps | `sum by (class) (rate(apisix_http_status[w]))`, `class` being the code's first digit and `xx` |
//! | api-latency | `sum by (type) (rate(…_latency_sum[w])) / (sum by (type) (rate(…_latency_count[w])) > 0)` |
//! | api-bandwidth | `sum by (type) (rate(apisix_bandwidth[w]))` |
//! | api-connections | `sum by (state) (last_over_time(apisix_nginx_http_current_connections[w]))` |
//!
//! `rate(x[step]) * step` is `increase(x[step])`; a window shorter than four reports would often hold
//! fewer than the two samples an increase needs.

use std::collections::{BTreeMap, BTreeSet};

use gantry_metrics::key::{INSTANCE, Key, Matcher, NAME};
use gantry_metrics::range::{Function, Range};
use gantry_metrics::{Error as StoreError, Selection, Store};
use gantry_model::metrics::{MetricType, MetricsPayload, MetricsQuery, Point, ResultType, Series};
use gantry_model::{Error, Id, Result, Violation};
use gantry_store::service_admin;

use super::{INTERVAL_S, milliseconds};
use crate::access::Reach;
use crate::{Cx, check};

/// Points of one series, as in Prometheus.
const POINTS_MAX: usize = 11_000;
/// Samples that one query may read: some seconds of work.
const SAMPLES_MAX: u64 = 50_000_000;
/// Series of an answer; there are 500 status codes.
const SERIES_MAX: usize = 600;
/// No window is shorter than this many reports.
const REPORTS_MIN: i64 = 4;

/// Labels of a series in the answer.
type Labels = BTreeMap<&'static str, String>;
/// For each series of an answer, a value or none for each point.
type Sums = BTreeMap<Labels, Vec<Option<f64>>>;

/// Whose series may be answered.
struct Scope {
    cluster: Id,
    /// Ids of applications; `None` is all, and what is of no application.
    seen: Option<BTreeSet<String>>,
}

impl Scope {
    fn has(&self, key: &Key) -> bool {
        self.seen.as_ref().is_none_or(|apps| apps.contains(key.get("service")))
    }
}

/// How one type is computed.
struct Formula {
    family: &'static str,
    /// By which the first is divided.
    divisor: Option<&'static str>,
    function: Function,
    /// Which sum a series is part of; `None` leaves it out.
    group: fn(&Key) -> Option<Labels>,
    /// Counted over a step, instead of by the second.
    is_total: bool,
    /// Whether series tell the API they are of.
    is_of_apis: bool,
}

fn formula(kind: MetricType) -> Formula {
    let status = Formula {
        family: "apisix_http_status",
        divisor: None,
        function: Function::Rate,
        group: |_| Some(Labels::new()),
        is_total: true,
        is_of_apis: true,
    };
    match kind {
        MetricType::ApiRequests => status,
        MetricType::ApiFailureRequests => {
            Formula { group: |key| (code(key)? >= 400).then(Labels::new), ..status }
        }
        MetricType::ApiStatusDist => {
            Formula { group: |key| labelled("code", &code(key)?.to_string()), ..status }
        }
        MetricType::ApiQps => Formula {
            group: |key| labelled("class", &format!("{}xx", code(key)? / 100)),
            is_total: false,
            ..status
        },
        MetricType::ApiLatency => Formula {
            family: "apisix_http_latency_sum",
            divisor: Some("apisix_http_latency_count"),
            group: |key| labelled("type", key.get("type")),
            is_total: false,
            ..status
        },
        MetricType::ApiBandwidth => Formula {
            family: "apisix_bandwidth",
            group: |key| labelled("type", key.get("type")),
            is_total: false,
            ..status
        },
        MetricType::ApiConnections => Formula {
            family: "apisix_nginx_http_current_connections",
            function: Function::Last,
            group: |key| labelled("state", key.get("state")),
            is_total: false,
            is_of_apis: false,
            ..status
        },
    }
}

fn labelled(name: &'static str, value: &str) -> Option<Labels> {
    Some(Labels::from([(name, value.to_owned())]))
}

/// The status of a series, which nothing but an HTTP status is.
fn code(key: &Key) -> Option<u16> {
    key.get("code").parse().ok().filter(|code| (100..600).contains(code))
}

/// The series of one type. Filters by API and application do not apply to connections, which are of
/// no API. A service admin is answered about the own applications only.
pub async fn query(
    cx: &Cx,
    cluster: Id,
    kind: MetricType,
    query: MetricsQuery,
) -> Result<MetricsPayload> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let seen = match cx.reach() {
        Reach::Everything => None,
        Reach::Of(member) => {
            let apps = service_admin::applications(&mut tx, cluster, member).await?;
            Some(apps.iter().map(Id::to_string).collect())
        }
    };
    drop(tx);
    let scope = Scope { cluster, seen };
    let range = range(&query)?;
    let store = cx.app.metrics.store().await?;
    let _turn = cx.app.metrics.queries.acquire().await.map_err(Error::internal)?;
    let work = move || answer(&store, &scope, &formula(kind), &query, &range);
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
}

/// The moments asked for, or every rule they break.
fn range(query: &MetricsQuery) -> Result<Range> {
    let (start, end) = (milliseconds(query.start), milliseconds(query.end));
    let mut violations = Vec::new();
    if start >= end {
        let example = format!("\"{}\"", query.start.plus_seconds(3600));
        violations.push(Violation::new("end", "must be after `start`", example));
    }
    let span = query.end.seconds().saturating_sub(query.start.seconds());
    let shortest = span / i64::try_from(POINTS_MAX).unwrap_or(i64::MAX) + 1;
    if query.step < 1 {
        violations.push(Violation::new("step", "must be at least 1 second", "15"));
    } else if query.step < shortest {
        let rule = format!("is too short for this range: at most {POINTS_MAX} points are answered");
        violations.push(Violation::new("step", rule, shortest.to_string()));
    }
    check::refuse(&violations)?;
    let step = query.step.saturating_mul(1000);
    let window = step.max(REPORTS_MIN * i64::from(INTERVAL_S) * 1000);
    Ok(Range { start, end, step, window })
}

fn answer(
    store: &Store,
    scope: &Scope,
    formula: &Formula,
    query: &MetricsQuery,
    range: &Range,
) -> Result<MetricsPayload> {
    let mut sums = sums(store, scope, formula, formula.family, query, range)?;
    if let Some(divisor) = formula.divisor {
        let divisors = self::sums(store, scope, formula, divisor, query, range)?;
        for (labels, values) in &mut sums {
            let below = divisors.get(labels);
            for (point, value) in values.iter_mut().enumerate() {
                let below = below.and_then(|values| *values.get(point)?);
                let below = below.filter(|below| *below > 0.0);
                *value = value.zip(below).map(|(above, below)| above / below);
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "steps are far below 2^53 seconds")]
    let factor = if formula.is_total { query.step as f64 } else { 1.0 };
    let series = |(metric, values): (Labels, Vec<Option<f64>>)| {
        let values = values.into_iter().enumerate();
        let point = |(point, value): (usize, Option<f64>)| {
            Some(Point::new(range.time(point), value? * factor))
        };
        Series { metric, values: values.filter_map(point).collect() }
    };
    let result = sums.into_iter().map(series).filter(|series| !series.values.is_empty()).collect();
    Ok(MetricsPayload { result_type: ResultType::Matrix, result })
}

/// The values of all series of a family, summed by the formula's groups.
fn sums(
    store: &Store,
    scope: &Scope,
    formula: &Formula,
    family: &str,
    query: &MetricsQuery,
    range: &Range,
) -> Result<Sums> {
    let text = |id: Option<Id>| id.filter(|_| formula.is_of_apis).map(|id| id.to_string());
    let (app, api) = (text(query.app_id), text(query.api_id));
    let instance = query.instance_id.clone().filter(|id| !id.is_empty());
    let wanted = [("service", &app), ("route", &api), (INSTANCE, &instance)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?)));
    let selection = Selection {
        matcher: Matcher::new([(NAME, family)].into_iter().chain(wanted)),
        start: range.start.saturating_sub(range.window),
        end: range.end,
        samples_max: SAMPLES_MAX,
    };
    let mut sums = Sums::new();
    let mut too_many = false;
    let visited = store.select(scope.cluster, &selection, |key, samples| {
        if !scope.has(key) {
            return;
        }
        let Some(labels) = (formula.group)(key) else { return };
        if sums.len() >= SERIES_MAX && !sums.contains_key(&labels) {
            too_many = true;
            return;
        }
        let values = sums.entry(labels).or_insert_with(|| vec![None; range.points()]);
        range.evaluate(formula.function, samples, |point, value| {
            if let Some(sum) = values.get_mut(point) {
                *sum = Some(sum.unwrap_or(0.0) + value);
            }
        });
    });
    match visited {
        Ok(()) if !too_many => Ok(sums),
        Ok(()) | Err(StoreError::TooMany) => Err(too_much(query)),
        Err(StoreError::Io(error)) => Err(Error::internal(error)),
    }
}

fn too_much(query: &MetricsQuery) -> Error {
    let rule = "asks for more samples than one query may read: shorten the range, or name an \
                application, an API or an instance";
    Error::invalid_field("start", rule, format!("\"{}\"", query.end.plus_seconds(-3600)))
}
