//! Health checks of an upstream.
//!
//! A half (`healthy`, `unhealthy`) that is absent is off in APISIX, while an empty one takes the
//! defaults; so both are always written.

use gantry_model::config::upstream::{
    ActiveCheck, ActiveProbe, Checks, HealthRule, PassiveCheck, PassiveProbe, ProbeType,
};
use serde_json::{Map, Value};

use crate::document::Document;

/// The `checks` of an upstream; empty without an active check, on which passive ones depend.
pub fn checks(checks: &Checks) -> Map<String, Value> {
    let mut document = Document::new();
    if let Some(check) = &checks.active {
        document.put("active", active(check));
        document.put_some("passive", checks.passive.as_ref().map(passive));
    }
    document.into_map()
}

/// The block of an active check that its type selects.
pub fn active_probe(check: &ActiveCheck) -> Option<&ActiveProbe> {
    match check.kind {
        ProbeType::Http => check.http.as_ref(),
        ProbeType::Https => check.https.as_ref(),
        ProbeType::Tcp => check.tcp.as_ref(),
    }
}

/// The block of a passive check that its type selects.
pub fn passive_probe(check: &PassiveCheck) -> Option<&PassiveProbe> {
    match check.kind {
        ProbeType::Http => check.http.as_ref(),
        ProbeType::Https => check.https.as_ref(),
        ProbeType::Tcp => check.tcp.as_ref(),
    }
}

pub fn type_name(kind: ProbeType) -> &'static str {
    match kind {
        ProbeType::Tcp => "tcp",
        ProbeType::Http => "http",
        ProbeType::Https => "https",
    }
}

fn active(check: &ActiveCheck) -> Map<String, Value> {
    let absent = ActiveProbe::default();
    let probe = active_probe(check).unwrap_or(&absent);
    let http = check.kind != ProbeType::Tcp;
    let mut document = Document::new();
    document.put("type", type_name(check.kind));
    document.put_some("timeout", positive(probe.probe_timeout));
    document.put_some("concurrency", positive(probe.concurrent_probes));
    document.put_some("port", positive(probe.probe_target_port));
    if http {
        document.put_text("http_path", &probe.http_probe_path);
        document.put_text("host", &probe.http_probe_host);
        let headers: Vec<String> = probe
            .http_probe_headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        document.put_some("req_headers", some_items(headers));
    }
    if check.kind == ProbeType::Https {
        let verify = probe.verify_target_tls_certificate.unwrap_or(false);
        document.put("https_verify_certificate", verify);
    }
    document.put("healthy", active_rule(&probe.healthy, http));
    document.put("unhealthy", active_rule(&probe.unhealthy, http));
    document.into_map()
}

/// Numbers of an active rule; 0 takes the gateway's default, as if absent.
fn active_rule(rule: &HealthRule, http: bool) -> Map<String, Value> {
    let mut document = Document::new();
    document.put_some("interval", positive(rule.targets_check_interval));
    document.put_some("successes", rule.successes.and_then(positive));
    if http {
        document.put_some("http_statuses", rule.http_status_codes.clone().and_then(some_items));
        document.put_some("http_failures", rule.http_failures.and_then(positive));
    }
    document.put_some("tcp_failures", rule.tcp_failures.and_then(positive));
    document.put_some("timeouts", rule.timeouts.and_then(positive));
    document.into_map()
}

fn passive(check: &PassiveCheck) -> Map<String, Value> {
    let absent = PassiveProbe::default();
    let probe = passive_probe(check).unwrap_or(&absent);
    let http = check.kind != ProbeType::Tcp;
    let mut document = Document::new();
    document.put("type", type_name(check.kind));
    if http {
        document.put("healthy", passive_rule(&probe.healthy, http));
    }
    document.put("unhealthy", passive_rule(&probe.unhealthy, http));
    document.into_map()
}

/// Numbers of a passive rule; here 0 switches a counter off.
fn passive_rule(rule: &HealthRule, http: bool) -> Map<String, Value> {
    let mut document = Document::new();
    if http {
        document.put_some("http_statuses", rule.http_status_codes.clone().and_then(some_items));
        document.put_some("http_failures", rule.http_failures);
    } else {
        document.put_some("tcp_failures", rule.tcp_failures);
    }
    document.put_some("timeouts", rule.timeouts);
    document.into_map()
}

fn positive(number: u64) -> Option<u64> {
    (number > 0).then_some(number)
}

fn some_items<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}
