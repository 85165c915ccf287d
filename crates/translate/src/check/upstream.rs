//! Rules of one version of an application's backends.

use gantry_model::config::UpstreamVersion;
use gantry_model::config::upstream::{LoadBalancing, Scheme, Upstream};

use super::service_registry::check_discovery;
use super::{Report, health, host};
use crate::Surroundings;
use crate::upstream::hash_on;

/// Checks `upstreams[i]`, whose path is `field`.
pub fn check(report: &mut Report, field: &str, entry: &UpstreamVersion, around: &Surroundings) {
    let upstream = &entry.upstream;
    let inner = format!("{field}.upstream");
    check_targets(report, &inner, upstream, around);
    if upstream.lb_type == LoadBalancing::ConsistentHash && hash_on(&upstream.hash_key).is_none() {
        let rule = "must be a variable such as `remote_addr`, `host`, `uri`, `arg_NAME`, \
                    `http_NAME`, `cookie_NAME` or `consumer_name`, or a text of several with `$`";
        report.broken(format!("{inner}.hash_key"), rule, r#""http_x_user_id""#);
    }
    if upstream.scheme == Scheme::Http && entry.client_cert_id().is_some() {
        let outer = upstream.client_cert_id.is_none();
        let field = format!("{}.client_cert_id", if outer { field } else { &inner });
        report.broken(field, "needs `scheme` to be `https`", "");
    }
    check_host_mode(report, &inner, upstream);
    if let Some(checks) = &upstream.checks {
        health::check(report, &format!("{inner}.checks"), checks);
    }
}

fn check_targets(report: &mut Report, field: &str, upstream: &Upstream, around: &Surroundings) {
    if let Some(discovery) = &upstream.service_discovery {
        check_discovery(report, &format!("{field}.service_discovery"), discovery, around);
        if !upstream.targets.is_empty() {
            let rule = "must be empty beside `service_discovery`, which finds the targets";
            report.broken(format!("{field}.targets"), rule, "[]");
        }
    } else if upstream.targets.is_empty() {
        let example = r#"[{"host":"10.0.0.11","port":8080,"weight":1}]"#;
        report.broken(format!("{field}.targets"), "must hold at least one target", example);
    }
    for (index, target) in upstream.targets.iter().enumerate() {
        if !host::is_address(&target.host) {
            let rule = "must be a host name or an IP address without scheme and port";
            report.broken(format!("{field}.targets[{index}].host"), rule, r#""10.0.0.11""#);
        }
        if target.port == 0 {
            report.broken(format!("{field}.targets[{index}].port"), "must be 1 to 65535", "8080");
        }
    }
}

fn check_host_mode(report: &mut Report, field: &str, upstream: &Upstream) {
    match upstream.upstream_host_mode.as_str() {
        "" | "pass" | "node" => {}
        "rewrite" if host::is_header(&upstream.upstream_host) => {}
        "rewrite" => {
            let rule = "must be a host name, because `upstream_host_mode` is `rewrite`";
            report.broken(format!("{field}.upstream_host"), rule, r#""pay.example.com""#);
        }
        _ => {
            let rule = "must be `pass`, `node` or `rewrite`";
            report.broken(format!("{field}.upstream_host_mode"), rule, r#""pass""#);
        }
    }
}
