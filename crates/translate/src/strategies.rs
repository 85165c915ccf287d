//! Random resources that pass the checks, for property tests here and in the crates above.

use gantry_model::Id;
use gantry_model::config::cluster::{
    AccessLogRotate, ApiProxySettings, ClientRealIp, ClientSettings, ClusterSettings, Metrics,
    ObservabilitySettings, Position, ReplaceFrom, ServerHeader,
};
use gantry_model::config::upstream::{
    ActiveCheck, ActiveProbe, Checks, HealthRule, KubernetesService, LoadBalancing, PassiveCheck,
    PassiveProbe, ProbeType, Scheme, ServiceDiscovery, Target, Timeout, Upstream,
};
use gantry_model::config::{
    ApiPath, ApiSpec, ApiType, ApplicationSpec, CanaryReleaseSpec, CanaryState, CanaryType,
    CertificateSpec, CertificateType, ConsumerSpec, Expression, LogCollectionSpec, LoggerType,
    Operator, PathType, PluginState, Plugins, Protocol, RegistryType, Relationship, RouteControl,
    ServiceRegistrySpec, Subject, UpstreamVersion,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};

use crate::Surroundings;

fn text() -> impl Strategy<Value = String> {
    "[ -~äß中]{0,40}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-zA-Z][a-zA-Z0-9 _-]{0,20}"
}

/// Labels of all resources: few, so that those that `acl` names are often those of a consumer.
const LABELS: [&str; 3] = ["team-a", "team-b", "x_1"];

fn labels() -> impl Strategy<Value = Vec<String>> {
    subsequence(LABELS.map(str::to_owned).to_vec(), 0..=LABELS.len())
}

/// Who is let in or kept out, by name and by label.
fn acl() -> impl Strategy<Value = Value> {
    let names = subsequence(vec!["a", "consumer_0", "consumer_1"], 0..=3);
    let labels = subsequence(LABELS.to_vec(), 0..=LABELS.len());
    (any::<bool>(), names, labels).prop_map(|(allow, mut names, labels)| {
        if labels.is_empty() && names.is_empty() {
            names.push("b");
        }
        let (mode, word) = if allow { ("Allow", "allowed") } else { ("Deny", "denied") };
        let consumers = format!("{word}_consumers");
        json!({ "mode": mode, consumers: names, format!("{word}_consumer_labels"): labels })
    })
}

fn published() -> impl Strategy<Value = u8> {
    prop_oneof![4 => Just(0), 1 => Just(1)]
}

/// Plugins any object may have.
pub fn plugins() -> impl Strategy<Value = Plugins> {
    let limit = (1..1000_u32, 1..60_u32)
        .prop_map(|(count, window)| json!({ "count": count, "time_window": window }));
    let restriction = select(vec![
        json!({ "whitelist": ["10.0.0.0/8", "::1"] }),
        json!({ "blacklist": ["203.0.113.7"], "message": "no" }),
    ]);
    let rewrite = select(vec![
        json!({ "uri": "/fixed" }),
        json!({ "host": "other.example.com" }),
        json!({ "headers": { "set": { "X-A": "1" } } }),
        json!({ "regex_uri": ["^/a/(.*)", "/b/$1"] }),
        json!({ "method": "GET", "_meta": { "disable": true } }),
    ]);
    let redirect = select(vec![
        json!({ "uri": "/new", "ret_code": 301 }),
        json!({ "http_to_https": true }),
        json!({ "http_to_https": true, "_meta": { "disable": true } }),
    ]);
    let cors = select(vec![json!({}), json!({ "_meta": { "disable": true } })]);
    let header = name().prop_map(|value| json!({ "headers": { "set": { "X-B": value.trim() } } }));
    (of(limit), of(restriction), of(rewrite), weighted(0.2, redirect), of(cors), of(header))
        .prop_map(|(limit, restriction, rewrite, redirect, cors, header)| {
            [
                ("limit-count", limit),
                ("ip-restriction", restriction),
                ("proxy-rewrite", rewrite),
                ("redirect", redirect),
                ("cors", cors),
                ("response-rewrite", header),
            ]
            .into_iter()
            .filter_map(|(name, config)| Some((name.to_owned(), config?)))
            .collect()
        })
}

/// The same, and how callers prove who they are.
fn guarded_plugins() -> impl Strategy<Value = Plugins> {
    let guard = select(vec![
        ("key-auth", json!({})),
        ("basic-auth", json!({ "hide_credentials": true })),
        ("authentication", json!({ "type": "jwt-auth", "strip_credentials": true })),
    ]);
    (plugins(), of(guard), of(acl()), of(logging())).prop_map(
        |(mut plugins, guard, acl, logging)| {
            let acl = acl.map(|acl| ("acl", acl));
            let more = guard.into_iter().chain(acl).chain(logging);
            plugins.extend(more.map(|(name, config)| (name.to_owned(), config)));
            plugins
        },
    )
}

/// Log collections there may be: few, so that they are often bound. Each keeps its type for life,
/// so that any two of different types go together.
const COLLECTIONS: [(i64, LoggerType); 3] =
    [(1, LoggerType::HttpLogger), (2, LoggerType::KafkaLogger), (3, LoggerType::HttpLogger)];

/// Service registries there may be.
const REGISTRIES: [i64; 3] = [11, 12, 13];

fn some_id(number: i64) -> Id {
    Id::new(number).expect("a positive number")
}

/// One of a few log collections.
pub fn log_collection() -> impl Strategy<Value = (Id, LogCollectionSpec)> {
    let format = select(vec![json!({ "at": "$time_iso8601" }), json!({ "host": "$host" })]);
    (select(COLLECTIONS.to_vec()), text(), 1..9_u8, of(format)).prop_map(
        |((number, kind), description, timeout, format)| {
            let mut spec = match kind {
                LoggerType::HttpLogger => {
                    json!({ "uri": "http://logs:9000", "auth_header": "s3cret" })
                }
                LoggerType::KafkaLogger => json!({
                    "brokers": [{ "host": "kafka", "port": 9092 }], "kafka_topic": "access"
                }),
            };
            spec["timeout"] = json!(timeout);
            if let Some(format) = format {
                spec["log_format"] = format;
            }
            let spec = spec.as_object().cloned().unwrap_or_default();
            let name = format!("collection_{number}");
            (some_id(number), LogCollectionSpec { name, description, kind, spec })
        },
    )
}

/// One of a few service registries, in use or not.
pub fn service_registry() -> impl Strategy<Value = (Id, ServiceRegistrySpec)> {
    let token = select(vec![
        json!({ "service_account_token_value": "s3cret" }),
        json!({ "service_account_token_file": "/var/run/secrets/token" }),
    ]);
    let namespaces = select(vec![
        Value::Null,
        json!({ "operator": "equal", "patterns": ["shop"] }),
        json!({ "operator": "not_match", "patterns": ["^kube-", "test$"] }),
    ]);
    let labels = subsequence(
        vec![
            json!({ "key": "app", "operator": "equal", "value": "shop" }),
            json!({ "key": "tier", "operator": "in", "value": "a,b" }),
            json!({ "key": "old", "operator": "not_exists" }),
        ],
        0..=3,
    );
    let parts = (select(REGISTRIES.to_vec()), any::<bool>(), token, namespaces, labels);
    parts.prop_map(|(number, enabled, mut kubernetes, namespaces, labels)| {
        kubernetes["api_server"] = json!({ "host": "10.0.0.1", "port": 6443 });
        kubernetes["namespace_selector"] = namespaces;
        kubernetes["endpoints_label_selectors"] = json!(labels);
        let spec = json!({ "name": format!("registry_{number}"), "type": "kubernetes",
            "enabled": enabled, "kubernetes": kubernetes });
        (some_id(number), serde_json::from_value(spec).expect("a registry"))
    })
}

/// The surroundings in which all resources of these strategies are valid.
#[must_use]
pub fn surroundings() -> Surroundings {
    let collection = |(number, kind): (i64, LoggerType)| {
        let spec = match kind {
            LoggerType::HttpLogger => json!({ "uri": "http://logs:9000" }),
            LoggerType::KafkaLogger => json!({
                "brokers": [{ "host": "kafka", "port": 9092 }], "kafka_topic": "access"
            }),
        };
        let spec = spec.as_object().cloned().unwrap_or_default();
        let name = format!("collection_{number}");
        (some_id(number), LogCollectionSpec { name, description: String::new(), kind, spec })
    };
    Surroundings {
        log_collections: COLLECTIONS.map(collection).into(),
        service_registries: REGISTRIES.map(|number| (some_id(number), true)).into(),
        ..Surroundings::default()
    }
}

/// Log collections of different types, bound in one of the ways there are.
fn logging() -> impl Strategy<Value = (&'static str, Value)> {
    let ids = (of(select(vec!["1", "3"])), of(Just("2")));
    let form = select(vec!["logging", "disabled", "log_collections"]);
    (ids, form).prop_map(|((http, kafka), form)| {
        let ids: Vec<&str> = http.into_iter().chain(kafka).collect();
        match form {
            "log_collections" => (form, json!(ids)),
            "logging" => (form, json!({ "log_collections": ids })),
            _ => ("logging", json!({ "log_collections": ids, "_meta": { "disable": true } })),
        }
    })
}

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

fn upstream() -> impl Strategy<Value = Upstream> {
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

/// A published application or a draft.
pub fn application() -> impl Strategy<Value = ApplicationSpec> {
    let hosts = subsequence(vec!["a.example.com", "*.B.example.com", "b.example.com", "*"], 1..=4);
    let prefix = select(vec!["/", "/api", "/api/", "/a.b/c", "/c++", "/ä"]);
    let protocols = subsequence(vec![Protocol::Http, Protocol::Https], 0..=2);
    let versions = (vec(upstream(), 1..4), any::<Index>());
    let parts = (
        name(),
        text(),
        hosts,
        prefix,
        protocols,
        versions,
        guarded_plugins(),
        labels(),
        published(),
    );
    parts.prop_map(
        |(
            name,
            description,
            hosts,
            prefix,
            protocols,
            (upstreams, pick),
            plugins,
            labels,
            active,
        )| {
            let version =
                |index: usize| if index == 0 { "default".into() } else { format!("v{index}") };
            ApplicationSpec {
                name,
                description,
                hosts: hosts.into_iter().map(str::to_owned).collect(),
                path_prefix: prefix.into(),
                protocol: None,
                protocols,
                default_upstream_version: version(pick.index(upstreams.len())),
                upstreams: upstreams
                    .into_iter()
                    .enumerate()
                    .map(|(index, upstream)| UpstreamVersion {
                        upstream,
                        version: version(index),
                        client_cert_id: None,
                    })
                    .collect(),
                plugins,
                labels,
                active,
            }
        },
    )
}

fn expression() -> impl Strategy<Value = Expression> {
    let subject = select(vec![
        (Subject::Header, "X-Beta"),
        (Subject::Query, "page"),
        (Subject::Cookie, "session"),
        (Subject::Path, ""),
        (Subject::Variable, "remote_addr"),
    ]);
    let test = select(vec![
        (Operator::Equal, "5"),
        (Operator::NotEqual, ""),
        (Operator::RegexMatch, "^a(b|c)+$"),
        (Operator::RegexNotMatch, "(?i)x"),
        (Operator::Present, ""),
        (Operator::NotPresent, ""),
        (Operator::LargerEqual, "1.5"),
        (Operator::LargerThan, "-3"),
        (Operator::LessEqual, "1e3"),
        (Operator::LessThan, "10"),
    ]);
    (subject, test).prop_map(|((subject, name), (operator, value))| Expression {
        subject,
        name: name.into(),
        operator,
        value: value.into(),
    })
}

/// A published API or a draft, valid below any application of [`application`].
pub fn api() -> impl Strategy<Value = ApiSpec> {
    let path = (select(vec!["", "/", "v1", "/v1", "/a.b", "/ü x"]), any::<bool>()).prop_map(
        |(path, exact)| ApiPath {
            path: path.into(),
            // Below `/c++`, a prefix that ends in a slash would never match.
            path_type: if exact || path == "/" { PathType::Exact } else { PathType::Prefix },
        },
    );
    let methods = subsequence(vec!["GET", "POST", "PUT", "DELETE", "OPTIONS"], 0..=5);
    let relationship = select(vec![Relationship::All, Relationship::Any]);
    let control = (any::<bool>(), relationship, vec(expression(), 0..4)).prop_map(
        |(enabled, logical_relationship, expressions)| RouteControl {
            enabled,
            logical_relationship,
            expressions,
        },
    );
    let switches = (any::<bool>(), any::<bool>(), published());
    let parts = (
        name(),
        text(),
        vec(path, 1..4),
        methods,
        of(control),
        guarded_plugins(),
        labels(),
        switches,
    );
    parts.prop_map(
        |(
            name,
            description,
            paths,
            methods,
            control,
            plugins,
            labels,
            (strip, websocket, active),
        )| {
            let websocket = websocket && (methods.is_empty() || methods.contains(&"GET"));
            ApiSpec {
                name,
                description,
                paths,
                methods: methods.into_iter().map(str::to_owned).collect(),
                fine_grained_route_control: control,
                strip_path_prefix: strip,
                plugins,
                labels,
                active,
                kind: if websocket { ApiType::WebSocket } else { ApiType::Rest },
            }
        },
    )
}

/// A canary release in any state, for one of the versions that applications of [`application`] may
/// have.
pub fn canary_release() -> impl Strategy<Value = CanaryReleaseSpec> {
    let state = select(vec![CanaryState::InProgress, CanaryState::Paused, CanaryState::Finished]);
    let version = select(vec!["default", "v1", "v2"]);
    let parts = (name(), state, any::<bool>(), version, 1..=100_u8, vec(expression(), 1..4));
    parts.prop_map(|(name, state, by_rule, version, percent, expressions)| CanaryReleaseSpec {
        name,
        state,
        kind: if by_rule { CanaryType::Rule } else { CanaryType::Percent },
        canary_upstream_version: version.into(),
        percent: Some(percent),
        expressions,
    })
}

/// A consumer with this name.
pub fn consumer(name: String) -> impl Strategy<Value = ConsumerSpec> {
    let credentials = subsequence(
        vec![
            ("key-auth", json!({ "key": format!("key of {name}") })),
            ("basic-auth", json!({ "username": name, "password": "secret" })),
            ("hmac-auth", json!({ "access_key": name, "secret_key": "secret" })),
            ("jwt-auth", json!({ "key": name, "secret": "a-secret-of-thirty-two-characters" })),
        ],
        0..=4,
    );
    (text(), credentials, plugins(), weighted(0.2, acl()), labels()).prop_map(
        move |(description, credentials, mut plugins, acl, labels)| {
            plugins.extend(acl.map(|acl| ("acl".to_owned(), acl)));
            ConsumerSpec {
                name: name.clone(),
                description,
                credentials: credentials
                    .into_iter()
                    .map(|(name, fields)| (name.into(), fields))
                    .collect(),
                plugins,
                labels,
            }
        },
    )
}

/// A certificate of no use but of the right form, and its server names.
pub fn certificate() -> impl Strategy<Value = (CertificateSpec, Vec<String>)> {
    let names = subsequence(vec!["a.example.com", "*.B.example.com", "c.example.com"], 1..=3);
    (names, any::<bool>(), any::<bool>(), labels(), 0..9_u8).prop_map(
        |(names, server, with_ca, labels, serial)| {
            let pem = |what: &str| {
                let body = serial.to_string().repeat(128);
                format!("-----BEGIN {what}-----\n{body}\n-----END {what}-----\n")
            };
            let kind = if server { CertificateType::Server } else { CertificateType::Client };
            let spec = CertificateSpec {
                certificate: pem("CERTIFICATE"),
                private_key: pem("PRIVATE KEY"),
                ca_certificate: with_ca.then(|| pem("CERTIFICATE")),
                labels,
                kind,
            };
            (spec, names.into_iter().map(str::to_owned).collect())
        },
    )
}

/// Settings of a cluster that go with any plugins of [`cluster_plugins`].
pub fn cluster_settings() -> impl Strategy<Value = ClusterSettings> {
    let client = (any::<bool>(), any::<bool>(), 0..3_u64).prop_map(|(enabled, recursive, size)| {
        let source = ReplaceFrom { position: Position::Header, name: "X-Forwarded-For".into() };
        ClientSettings {
            client_real_ip: ClientRealIp {
                replace_from: Some(source),
                trusted_addresses: vec!["10.0.0.0/8".into()],
                recursive_search: recursive,
                enabled,
            },
            maximum_request_body_size: size * 1024,
        }
    });
    let observability = (any::<bool>(), any::<bool>(), any::<bool>(), 0..2_u64).prop_map(
        |(metrics, show, rotate, interval)| ObservabilitySettings {
            metrics: Metrics { enabled: metrics },
            show_upstream_status_in_response_header: show,
            access_log_rotate: AccessLogRotate {
                enabled: rotate,
                interval,
                maximum_kept_log_entries: 0,
                enable_compression: rotate,
            },
        },
    );
    let header = select(vec![("", ""), ("Rewrite", "gateway"), ("Hide Version Token", "")]);
    let proxy = (any::<bool>(), of(header), any::<bool>()).prop_map(|(buffering, header, tail)| {
        ApiProxySettings {
            enable_request_buffering: buffering,
            server_header_customization: header.map(|(mode, text)| ServerHeader {
                mode: mode.into(),
                new_server_header: text.into(),
            }),
            url_handling_options: if tail { vec!["Delete Tail Slash".into()] } else { Vec::new() },
        }
    });
    (of(client), of(observability), of(proxy)).prop_map(|(client, observability, proxy)| {
        ClusterSettings {
            client_settings: client,
            observability_settings: observability,
            api_proxy_settings: proxy,
        }
    })
}

/// Plugins of a cluster.
pub fn cluster_plugins() -> impl Strategy<Value = Plugins> {
    let some: Vec<(&str, Value)> = vec![
        ("authentication", json!({ "type": "key-auth", "header": "x-key" })),
        (
            "logging",
            json!({ "log_collections": ["2"], "http-logger": { "uri": "http://logs:9000" } }),
        ),
        ("log_collections", json!(["3"])),
        ("prometheus", json!({ "prefer_name": true })),
        ("ip-restriction", json!({ "whitelist": ["127.0.0.1"] })),
        ("request-id", json!({})),
    ];
    (subsequence(some, 0..=6), of(acl())).prop_map(|(list, acl)| {
        let all = list.into_iter().chain(acl.map(|acl| ("acl", acl)));
        let mut plugins: Plugins = all.map(|(name, config)| (name.into(), config)).collect();
        // Both together would be two loggers of one type.
        if plugins.contains_key("logging") {
            plugins.remove("log_collections");
        }
        plugins
    })
}

/// A decision about a plugin that none of the other strategies uses, so that it may be unloaded.
pub fn plugin_state() -> impl Strategy<Value = (String, PluginState)> {
    let name =
        select(vec!["error-page", "log-rotate", "splunk-hec-logging", "udp-logger", "zipkin"]);
    let format = select(vec![json!({ "host": "$host" }), json!({ "@timestamp": "$time_iso8601" })]);
    (name, of(any::<bool>()), weighted(0.5, format)).prop_map(|(name, loaded, format)| {
        let format = format.filter(|_| name.ends_with("logging") || name.ends_with("logger"));
        let metadata = format.map(|format| ("log_format".to_owned(), format));
        (name.to_owned(), PluginState { loaded, metadata: metadata.into_iter().collect() })
    })
}
