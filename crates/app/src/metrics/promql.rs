//! The types of metrics in PromQL, for a server that speaks it. Whatever is asked is asked of one
//! cluster.

use std::fmt::Write as _;

use gantry_model::metrics::MetricType;

use super::query::Scope;
use super::remote_write::CLUSTER;

/// Statuses of responses, and those of failures; nothing else is counted by its code.
const STATUSES: &str = "[1-5]..";
const FAILURES: &str = "[45]..";

/// The expression of a type, and the label that tells its series apart. `step` and `window` are in
/// seconds.
pub(super) fn expression(
    kind: MetricType,
    scope: &Scope,
    step: i64,
    window: i64,
) -> (String, Option<&'static str>) {
    let rate = |family: &str, codes: Option<&str>| {
        let labels = labels(scope, true, codes);
        format!("rate({family}{{{labels}}}[{window}s])")
    };
    let status = |codes| rate("apisix_http_status", codes);
    match kind {
        MetricType::ApiRequests => (format!("sum({}) * {step}", status(None)), None),
        MetricType::ApiFailureRequests => {
            (format!("sum({}) * {step}", status(Some(FAILURES))), None)
        }
        MetricType::ApiStatusDist => {
            (format!("sum by (code) ({}) * {step}", status(Some(STATUSES))), Some("code"))
        }
        MetricType::ApiQps => {
            let rate = status(Some(STATUSES));
            let class =
                format!("label_replace({rate}, \"class\", \"${{1}}xx\", \"code\", \"(.)..\")");
            (format!("sum by (class) ({class})"), Some("class"))
        }
        MetricType::ApiLatency => {
            let sum = rate("apisix_http_latency_sum", None);
            let count = rate("apisix_http_latency_count", None);
            (format!("sum by (type) ({sum}) / (sum by (type) ({count}) > 0)"), Some("type"))
        }
        MetricType::ApiBandwidth => {
            (format!("sum by (type) ({})", rate("apisix_bandwidth", None)), Some("type"))
        }
        MetricType::ApiConnections => {
            let labels = labels(scope, false, None);
            let family = "apisix_nginx_http_current_connections";
            let last = format!("last_over_time({family}{{{labels}}}[{window}s])");
            (format!("sum by (state) ({last})"), Some("state"))
        }
    }
}

/// What series must be of.
fn labels(scope: &Scope, is_of_apis: bool, codes: Option<&str>) -> String {
    let mut text = format!("{CLUSTER}=\"{}\"", scope.cluster);
    let of_apis = |id: &Option<String>| id.clone().filter(|_| is_of_apis);
    for (name, value) in [
        ("service", of_apis(&scope.app)),
        ("route", of_apis(&scope.api)),
        ("instance", scope.instance.clone()),
    ] {
        if let Some(value) = value {
            let _ = write!(text, ",{name}=\"{}\"", quoted(&value));
        }
    }
    if let Some(seen) = &scope.seen {
        let ids: Vec<&str> = seen.iter().map(String::as_str).collect();
        // Ids are digits. Of no application is what has none: nothing fits an empty list.
        let ids = if ids.is_empty() { ".^".to_owned() } else { ids.join("|") };
        let _ = write!(text, ",service=~\"{ids}\"");
    }
    if let Some(codes) = codes {
        let _ = write!(text, ",code=~\"{codes}\"");
    }
    text
}

/// A text as it stands between the quotes of PromQL.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_asked_is_asked_of_one_cluster() {
        let scope = Scope {
            cluster: gantry_model::Id::new(7).unwrap(),
            seen: Some(["11".to_owned(), "12".to_owned()].into()),
            app: Some("11".into()),
            api: None,
            instance: Some("gw\"},x{a=\"".into()),
        };
        let (text, label) = expression(MetricType::ApiFailureRequests, &scope, 15, 60);
        assert_eq!(label, None);
        assert_eq!(
            text,
            "sum(rate(apisix_http_status{cluster=\"7\",service=\"11\",\
             instance=\"gw\\\"},x{a=\\\"\",service=~\"11|12\",code=~\"[45]..\"}[60s])) * 15"
        );
        let nothing = Scope { seen: Some([].into()), instance: None, ..scope };
        let (text, label) = expression(MetricType::ApiConnections, &nothing, 15, 60);
        assert_eq!(label, Some("state"));
        assert_eq!(
            text,
            "sum by (state) (last_over_time(apisix_nginx_http_current_connections{cluster=\"7\",\
             service=~\".^\"}[60s]))"
        );
    }
}
