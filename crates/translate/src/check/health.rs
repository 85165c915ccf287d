//! Rules of health checks.

use gantry_model::config::upstream::{ActiveCheck, ActiveProbe, Checks, HealthRule, PassiveCheck};

use super::{Report, host};
use crate::health::{active_probe, passive_probe, type_name};

/// Largest limit of a counter.
const COUNTER_MAX: u64 = 254;

/// Checks the object `checks`, whose path is `field`.
pub fn check(report: &mut Report, field: &str, checks: &Checks) {
    if let Some(active) = &checks.active {
        check_active(report, &format!("{field}.active"), active);
    } else if checks.passive.is_some() {
        let rule = "needs `active`, without which a node would never become healthy again";
        report.broken(format!("{field}.passive"), rule, "");
    }
    if let Some(passive) = &checks.passive {
        check_passive(report, &format!("{field}.passive"), passive);
    }
}

fn check_active(report: &mut Report, field: &str, check: &ActiveCheck) {
    let Some(probe) = active_probe(check) else { return };
    let field = format!("{field}.{}", type_name(check.kind));
    let ActiveProbe { probe_target_port, http_probe_path, http_probe_host, .. } = probe;
    if *probe_target_port > u64::from(u16::MAX) {
        report.broken(format!("{field}.probe_target_port"), "must be 1 to 65535", "8080");
    }
    if !http_probe_path.is_empty() && !is_request_target(http_probe_path) {
        let rule = "must start with `/` and hold no white space";
        report.broken(format!("{field}.http_probe_path"), rule, r#""/healthz""#);
    }
    if !http_probe_host.is_empty() && !host::is_header(http_probe_host) {
        let rule = "must be a host name";
        report.broken(format!("{field}.http_probe_host"), rule, r#""example.com""#);
    }
    for (name, value) in &probe.http_probe_headers {
        if !is_token(name) || value.chars().any(char::is_control) {
            let rule = format!("holds `{}`, which is no valid header", name.escape_debug());
            report.broken(format!("{field}.http_probe_headers"), rule, r#"{"User-Agent":"probe"}"#);
        }
    }
    check_rule(report, &format!("{field}.healthy"), &probe.healthy, 1);
    check_rule(report, &format!("{field}.unhealthy"), &probe.unhealthy, 1);
}

fn check_passive(report: &mut Report, field: &str, check: &PassiveCheck) {
    let Some(probe) = passive_probe(check) else { return };
    let field = format!("{field}.{}", type_name(check.kind));
    check_rule(report, &format!("{field}.healthy"), &probe.healthy, 0);
    check_rule(report, &format!("{field}.unhealthy"), &probe.unhealthy, 0);
}

fn check_rule(report: &mut Report, field: &str, rule: &HealthRule, smallest: u64) {
    let HealthRule {
        targets_check_interval: _,
        http_status_codes,
        successes,
        http_failures,
        tcp_failures,
        timeouts,
    } = rule;
    let counters = [
        ("successes", successes),
        ("http_failures", http_failures),
        ("tcp_failures", tcp_failures),
        ("timeouts", timeouts),
    ];
    for (name, counter) in counters {
        if counter.is_some_and(|counter| counter > COUNTER_MAX) {
            let rule = format!("must be {smallest} to {COUNTER_MAX}");
            report.broken(format!("{field}.{name}"), rule, "3");
        }
    }
    let codes = http_status_codes.as_deref().unwrap_or_default();
    let repeated = codes.iter().enumerate().any(|(index, code)| codes[..index].contains(code));
    if repeated || codes.iter().any(|code| !(200..=599).contains(code)) {
        let rule = "must be different status codes from 200 to 599";
        report.broken(format!("{field}.http_status_codes"), rule, "[200,302]");
    }
}

fn is_request_target(path: &str) -> bool {
    path.starts_with('/')
        && !path.contains(|letter: char| letter.is_whitespace() || letter.is_control())
}

/// A name of a header (RFC 9110, `token`).
pub fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
