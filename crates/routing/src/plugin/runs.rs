//! Which plugins Gantry's own gateway runs. Here, because the server has to know too.

/// Names in their order; the gateway tests that these are the ones it has.
pub const RUN_IN_GANTRY: &[&str] = &[
    "acl",
    "api-breaker",
    "basic-auth",
    "brotli",
    "client-control",
    "consumer-restriction",
    "cors",
    "csrf",
    "datadog",
    "echo",
    "fault-injection",
    "file-logger",
    "forward-auth",
    "grpc-web",
    "gzip",
    "hmac-auth",
    "http-logger",
    "ip-restriction",
    "jwt-auth",
    "kafka-logger",
    "key-auth",
    "limit-conn",
    "limit-count",
    "limit-req",
    "mocking",
    "multi-auth",
    "openid-connect",
    "opentelemetry",
    "prometheus",
    "proxy-cache",
    "proxy-control",
    "proxy-mirror",
    "proxy-rewrite",
    "public-api",
    "real-ip",
    "redirect",
    "referer-restriction",
    "request-id",
    "request-validation",
    "response-rewrite",
    "syslog",
    "tcp-logger",
    "traffic-split",
    "ua-restriction",
    "udp-logger",
    "uri-blocker",
    "workflow",
    "zipkin",
];

/// Whether Gantry's own gateway runs a plugin.
#[must_use]
pub fn runs_in_gantry(name: &str) -> bool {
    RUN_IN_GANTRY.binary_search(&name).is_ok()
}
