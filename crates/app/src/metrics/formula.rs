//! How each type of metrics is computed of the series in the own store; `promql` says the same in
//! PromQL.

use std::collections::BTreeMap;

use gantry_metrics::key::Key;
use gantry_metrics::range::Function;
use gantry_model::metrics::MetricType;

/// Labels of a series in the answer.
pub(super) type Labels = BTreeMap<&'static str, String>;

/// How one type is computed.
pub(super) struct Formula {
    pub family: &'static str,
    /// By which the first is divided.
    pub divisor: Option<&'static str>,
    pub function: Function,
    /// Which sum a series is part of; `None` leaves it out.
    pub group: fn(&Key) -> Option<Labels>,
    /// Counted over a step, instead of by the second.
    pub is_total: bool,
    /// Whether series tell the API they are of.
    pub is_of_apis: bool,
}

pub(super) fn formula(kind: MetricType) -> Formula {
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
