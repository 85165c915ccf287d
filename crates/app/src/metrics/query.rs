//! What is computed of the series for each type of metrics (facts §23). In PromQL, with `step` in
//! seconds and `w` the larger of `step` and a minute:
//!
//! | Type | Expression |
//! |---|---|
//! | api-requests | `sum(rate(apisix_http_status[w])) * step` |
//! | api-failure-requests | the same of `code=~"[45].."` |
//! | api-status-dist | `sum by (code) (rate(apisix_http_status{code=~"[1-5].."}[w])) * step` |
//! | api-qps | `sum by (class)` of the same, by the second; `class` is the code's first digit and `xx` |
//! | api-latency | `sum by (type) (rate(…_latency_sum[w])) / (sum by (type) (rate(…_latency_count[w])) > 0)` |
//! | api-bandwidth | `sum by (type) (rate(apisix_bandwidth[w]))` |
//! | api-connections | `sum by (state) (last_over_time(apisix_nginx_http_current_connections[w]))` |
//!
//! `rate(x[step]) * step` is `increase(x[step])`; a window shorter than four reports would often hold
//! fewer than the two samples an increase needs.

use std::collections::BTreeSet;
use std::sync::Arc;

use gantry_metrics::range::Range;
use gantry_model::metrics::{MetricType, MetricsPayload, MetricsQuery};
use gantry_model::{Error, Id, Result, Timestamp, Violation};
use gantry_store::service_admin;

use super::{INTERVAL_S, milliseconds, own};
use crate::access::Reach;
use crate::{Cx, check};

/// Points of one series, as in Prometheus.
const POINTS_MAX: usize = 11_000;
/// Series of an answer; there are 500 status codes.
pub(super) const SERIES_MAX: usize = 600;
/// No window is shorter than this many reports.
const REPORTS_MIN: i64 = 4;

/// Whose series may be answered, and which of them are wanted.
pub(super) struct Scope {
    pub cluster: Id,
    /// Ids of applications; `None` is all, and what is of no application.
    pub seen: Option<BTreeSet<String>>,
    /// The application, the API and the gateway that are wanted.
    pub app: Option<String>,
    pub api: Option<String>,
    pub instance: Option<String>,
}

impl Scope {
    pub fn sees(&self, app: &str) -> bool {
        self.seen.as_ref().is_none_or(|apps| apps.contains(app))
    }
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
    let range = range(&query)?;
    let scope = Scope {
        cluster,
        seen,
        app: query.app_id.map(|id| id.to_string()),
        api: query.api_id.map(|id| id.to_string()),
        instance: query.instance_id.filter(|id| !id.is_empty()),
    };
    let metrics = &cx.app.metrics;
    let turn = Arc::clone(&metrics.queries).acquire_owned().await.map_err(Error::internal)?;
    if let Some(remote) = &metrics.remote_query {
        return remote.answer(&scope, kind, &range).await;
    }
    let store = metrics.store().await?;
    let work = move || {
        // The work goes on when who asked is gone, and so does its turn.
        let _turn = turn;
        own::answer(&store, &scope, kind, range)
    };
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

/// The refusal of a query that is too much work.
pub(super) fn too_much(range: &Range) -> Error {
    let rule = "asks for more samples than one query may read: shorten the range, or name an \
                application, an API or an instance";
    let later = Timestamp::from_micros(range.end.saturating_mul(1000)).plus_seconds(-3600);
    Error::invalid_field("start", rule, format!("\"{later}\""))
}
