//! Random resources that pass the checks, for property tests here and in the crates above.

mod neighbour;
mod upstream;

use gantry_model::config::cluster::{
    AccessLogRotate, ApiProxySettings, ClientRealIp, ClientSettings, ClusterSettings, Metrics,
    ObservabilitySettings, Position, ReplaceFrom, ServerHeader,
};
use gantry_model::config::{
    ApiPath, ApiSpec, ApiType, ApplicationSpec, CanaryReleaseSpec, CanaryState, CanaryType,
    CertificateSpec, CertificateType, ConsumerSpec, Expression, Operator, PathType, PluginState,
    Plugins, Protocol, Relationship, RouteControl, Subject, UpstreamVersion,
};
use proptest::collection::vec;
use proptest::option::{of, weighted};
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};
use serde_json::{Value, json};

use neighbour::logging;
use upstream::upstream;

pub use neighbour::{log_collection, service_registry, surroundings};

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
