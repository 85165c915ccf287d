//! Backends of an application and how their health is checked.

use gantry_model::Id;
use gantry_model::config::RegistryType;
use gantry_model::config::upstream::{
    ActiveCheck, ActiveProbe, Checks, HealthRule, KubernetesService, LoadBalancing, PassiveCheck,
    PassiveProbe, ProbeType, Scheme, ServiceDiscovery, Target, Timeout, Upstream,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::neighbour::{REGISTRIES, some_id};

fn health_rule(smallest: u64) -> impl Strategy<Value = HealthRule> {
    let counter = || of(smallest..=254);
    let codes = of(subsequence(vec![200_u16, 302, 404, 429, 500, 503], 0..=6));
    (0..10_u64, codes, counter(), counter(), counter(), counter()).prop_map(
        |(interval, http_status_codes, successes, http_failures, tcp_failures, timeouts)| {
            HealthRule {
                targets_check_interval: interval,
                http_status_codes,
                successes,
                http_failures,
                tcp_failures,
                timeouts,
            }
        },
    )
}

fn checks() -> impl Strategy<Value = Checks> {
    let kind = || select(vec![ProbeType::Http, ProbeType::Https, ProbeType::Tcp]);
    let active = (kind(), health_rule(0), health_rule(0), of(any::<bool>()), 0..5_u64).prop_map(
        |(kind, healthy, unhealthy, verify, timeout)| {
            let probe = ActiveProbe {
                probe_timeout: timeout,
                concurrent_probes: timeout,
                http_probe_path: if timeout > 2 { "/healthz".into() } else { String::new() },
                http_probe_headers: [("User-Agent".to_owned(), "probe".to_owned())].into(),
                verify_target_tls_certificate: verify,
                healthy,
                unhealthy,
                ..ActiveProbe::default()
            };
            let only = |wanted| (kind == wanted).then(|| probe.clone());
            ActiveCheck {
                kind,
                http: only(ProbeType::Http),
                https: only(ProbeType::Https),
                tcp: only(ProbeType::Tcp),
            }
        },
    );
    let passive =
        (kind(), health_rule(0), health_rule(0)).prop_map(|(kind, healthy, unhealthy)| {
            let probe = Some(PassiveProbe { healthy, unhealthy });
            PassiveCheck { kind, http: probe.clone(), https: probe.clone(), tcp: probe }
        });
    (active, of(passive)).prop_map(|(active, passive)| Checks { active: Some(active), passive })
}

pub(super) fn upstream() -> impl Strategy<Value = Upstream> {
    let host = select(vec!["10.0.0.11", "backend.internal", "::1", "[2001:db8::1]"]);
    let target = (host, 1..=u16::MAX, 0..200_u16).prop_map(|(host, port, weight)| Target {
        host: host.into(),
        port,
        weight,
    });
    let balancing = select(vec![
        (LoadBalancing::Roundrobin, ""),
        (LoadBalancing::Ewma, ""),
        (LoadBalancing::LeastConn, ""),
        (LoadBalancing::ConsistentHash, ""),
        (LoadBalancing::ConsistentHash, "$http_x_user"),
        (LoadBalancing::ConsistentHash, "$host$uri"),
    ]);
    let host_mode = select(vec![("", ""), ("pass", ""), ("node", ""), ("rewrite", "a.example:81")]);
    let timeout = (0..9_u64, 0..9_u64, 0..9_u64).prop_map(|(connect, send, read)| Timeout {
        connect,
        send,
        read,
    });
    let tls = of(1..9_i64).prop_map(|certificate| certificate.and_then(Id::new));
    let discovery = weighted(0.3, select(REGISTRIES.to_vec())).prop_map(|registry| {
        registry.map(|registry| ServiceDiscovery {
            service_registry: RegistryType::Kubernetes,
            service_registry_id: some_id(registry),
            kubernetes_service: KubernetesService {
                namespace: "shop".into(),
                name: "orders".into(),
                port: "http".into(),
            },
        })
    });
    let nodes = (vec(target, 1..4), discovery);
    let parts = (nodes, balancing, host_mode, of(timeout), of(0..5_u32), tls, of(checks()));
    parts.prop_map(|(nodes, (lb_type, key), (mode, host), timeout, retries, tls, checks)| {
        let (targets, service_discovery) = nodes;
        Upstream {
            scheme: if tls.is_some() { Scheme::Https } else { Scheme::Http },
            lb_type,
            hash_key: key.into(),
            targets: if service_discovery.is_some() { Vec::new() } else { targets },
            service_discovery,
            retries,
            timeout,
            upstream_host_mode: mode.into(),
            upstream_host: host.into(),
            client_cert_id: tls,
            checks,
        }
    })
}
