//! Health checks of an upstream.

use std::time::Duration;

use gantry_routing::resource::{self, ProbeType, Upstream};
use http::{HeaderName, HeaderValue, Method};

use super::upstream::seconds;
use crate::upstream::{Active, Checks, Passive, ProbeRequest, Thresholds};

/// Bounds the probes of one upstream that wait at the same time.
const CONCURRENCY_MAX: i64 = 1000;

/// Compiles the checks of an upstream.
pub fn checks(source: &resource::Checks, upstream: &Upstream) -> Result<Checks, String> {
    Ok(Checks {
        active: active(&source.active, upstream)?,
        passive: source.passive.as_ref().map(passive),
    })
}

fn active(source: &resource::Active, upstream: &Upstream) -> Result<Active, String> {
    let (healthy, unhealthy) = (source.healthy.as_ref(), source.unhealthy.as_ref());
    let pause = |interval: u32| Duration::from_secs(u64::from(interval.max(1)));
    Ok(Active {
        request: match source.kind {
            ProbeType::Tcp => None,
            ProbeType::Http | ProbeType::Https => Some(request(source, upstream)?),
        },
        timeout: seconds(source.timeout),
        concurrency: source.concurrency.clamp(1, CONCURRENCY_MAX) as usize,
        port: source.port,
        up_interval: healthy.map(|healthy| pause(healthy.interval)),
        down_interval: unhealthy.map(|unhealthy| pause(unhealthy.interval)),
        thresholds: thresholds(
            healthy.map(|healthy| (&healthy.http_statuses, healthy.successes)),
            unhealthy
                .map(|it| (&it.http_statuses, [it.http_failures, it.tcp_failures, it.timeouts])),
        ),
    })
}

fn request(source: &resource::Active, upstream: &Upstream) -> Result<ProbeRequest, String> {
    let resource::Active { http_method: method, http_path: path, .. } = source;
    Method::from_bytes(method.as_bytes()).map_err(|_| format!("`{method}` is no method"))?;
    if !path.starts_with('/') || path.contains(|c: char| c.is_ascii_whitespace() || c.is_control())
    {
        return Err(format!("`http_path`: `{path}` is no path"));
    }
    let mut headers = String::new();
    for line in &source.req_headers {
        let (name, value) = line
            .split_once(':')
            .filter(|(name, value)| {
                HeaderName::try_from(*name).is_ok() && HeaderValue::try_from(value.trim()).is_ok()
            })
            .ok_or_else(|| format!("`req_headers`: `{line}` is not `Name: value`"))?;
        headers.push_str(&format!("{name}: {}\r\n", value.trim()));
    }
    let rewritten = upstream
        .upstream_host
        .clone()
        .filter(|_| upstream.pass_host == resource::PassHost::Rewrite);
    Ok(ProbeRequest {
        tls: source.kind == ProbeType::Https,
        verify: source.https_verify_certificate,
        host: source.host.clone().or(rewritten),
        method: method.clone(),
        path: path.clone(),
        headers,
        body: source.http_req_body.clone(),
    })
}

fn passive(source: &resource::Passive) -> Passive {
    let (healthy, unhealthy) = (source.healthy.as_ref(), source.unhealthy.as_ref());
    Passive {
        http: source.kind != ProbeType::Tcp,
        thresholds: thresholds(
            healthy.map(|healthy| (&healthy.http_statuses, healthy.successes)),
            unhealthy
                .map(|it| (&it.http_statuses, [it.http_failures, it.tcp_failures, it.timeouts])),
        ),
    }
}

/// Statuses and limits of both halves; one that is missing changes nothing.
fn thresholds(good: Option<(&Vec<u16>, u8)>, bad: Option<(&Vec<u16>, [u8; 3])>) -> Thresholds {
    let (good, successes) = good.map_or((Vec::new(), 0), |(good, limit)| (good.clone(), limit));
    let (bad, limits) = bad.map_or((Vec::new(), [0; 3]), |(bad, limits)| (bad.clone(), limits));
    let [http_failures, tcp_failures, timeouts] = limits;
    Thresholds { good, bad, successes, http_failures, tcp_failures, timeouts }
}

#[cfg(test)]
mod tests {
    use gantry_routing::resource::Resource;
    use serde_json::{Value, json};

    use super::*;

    fn compiled(document: &Value) -> Result<Checks, String> {
        let text = json!({"nodes": {"a:1": 1}, "checks": document}).to_string();
        let Resource::Upstream(source) = resource::parse("upstreams", "1", text.as_bytes())? else {
            panic!("an upstream")
        };
        checks(source.checks.as_ref().unwrap(), &source)
    }

    #[test]
    fn what_is_not_said_is_as_in_apisix() {
        let half = json!({"healthy": {}, "unhealthy": {}});
        let Checks { active, passive } =
            compiled(&json!({"active": half, "passive": half})).unwrap();
        let second = Some(Duration::from_secs(1));
        assert_eq!((active.up_interval, active.down_interval), (second, second));
        assert_eq!((Some(active.timeout), active.concurrency, active.port), (second, 10, None));
        let request = active.request.unwrap();
        assert_eq!((&*request.method, &*request.path, &*request.body), ("GET", "/", ""));
        assert!(request.verify && !request.tls && request.host.is_none());
        let expected = Thresholds {
            good: vec![200, 302],
            bad: vec![429, 404, 500, 501, 502, 503, 504, 505],
            successes: 2,
            http_failures: 5,
            tcp_failures: 2,
            timeouts: 3,
        };
        assert_eq!(active.thresholds, expected);
        let Passive { http, thresholds } = passive.unwrap();
        let expected = Thresholds {
            good: (200..=208).chain([226]).chain(300..=308).collect(),
            bad: vec![429, 500, 503],
            successes: 5,
            http_failures: 5,
            tcp_failures: 2,
            timeouts: 7,
        };
        assert!(http);
        assert_eq!(thresholds, expected);
    }

    #[test]
    fn a_half_that_is_missing_is_off() {
        let Checks { active, passive } = compiled(&json!({"active": {"type": "tcp"}})).unwrap();
        assert_eq!((active.up_interval, active.down_interval), (None, None));
        assert_eq!((active.request, active.thresholds), (None, Thresholds::default()));
        assert_eq!(passive, None);
    }

    #[test]
    fn probes_cannot_be_smuggled() {
        for (field, value) in [
            ("http_path", json!("/ HTTP/1.1\r\nX: y")),
            ("http_path", json!("health")),
            ("req_headers", json!(["no colon"])),
            ("req_headers", json!(["A: b\r\nC: d"])),
        ] {
            let error = compiled(&json!({"active": {field: value}})).unwrap_err();
            assert!(error.contains(field), "{error}");
        }
    }
}
