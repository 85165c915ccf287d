//! Which plugins Gantry's own gateway runs, and which of their settings it does not. Here, because the
//! server has to know too.

use serde_json::{Value, json};

use crate::schema::{Violation, is_reference};

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

/// How openid-connect may say who it is to a provider.
const CLIENT_METHODS: [&str; 4] =
    ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt"];

/// How tokens may be signed that Gantry's gateway verifies.
const SIGNED_WITH: [&str; 13] = [
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256",
    "PS384", "PS512", "EdDSA",
];

/// What a configuration that passed its plugin's checks asks for and Gantry's own gateway does not
/// do. It closes what the plugin protects.
#[must_use]
pub fn left_out(name: &str, config: &Value) -> Vec<Violation> {
    match name {
        "openid-connect" => openid_connect(config),
        _ => Vec::new(),
    }
}

fn openid_connect(config: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    for field in ["token_endpoint_auth_method", "introspection_endpoint_auth_method"] {
        violations.extend(one_of(config, field, &CLIENT_METHODS));
    }
    violations.extend(one_of(config, "token_signing_alg_values_expected", &SIGNED_WITH));
    let is_on = |field: &str| config.get(field) == Some(&Value::Bool(true));
    if is_on("accept_none_alg") && (is_on("use_jwks") || config.get("public_key").is_some()) {
        let rule = "must not be true together with `public_key` or `use_jwks`, as anybody could make \
                    such a token";
        violations.push(Violation::new("accept_none_alg", rule).with_example(&json!(false)));
    }
    if config.pointer("/session/redis/server_name").is_some_and(|name| !name.is_null()) {
        let rule = "must not be given, as `host` is the name that the certificate has to have";
        violations.push(Violation::new("session.redis.server_name", rule));
    }
    violations
}

/// References are not known here.
fn one_of(config: &Value, field: &str, allowed: &[&str]) -> Option<Violation> {
    let value = config.get(field).filter(|value| !is_reference(value))?;
    let is_allowed = value.as_str().is_some_and(|text| allowed.contains(&text));
    (!is_allowed).then(|| {
        let rule = format!("must be one of {}", allowed.join(", "));
        Violation::new(field, rule).with_example(&json!(allowed.first()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_does_not_do_is_named_by_field() {
        let fields = |config: Value| -> Vec<String> {
            left_out("openid-connect", &config).into_iter().map(|one| one.field).collect()
        };
        assert_eq!(fields(json!({"token_endpoint_auth_method": "private_key_jwt"})), [""; 0]);
        assert_eq!(
            fields(json!({
                "token_endpoint_auth_method": "tls_client_auth",
                "introspection_endpoint_auth_method": "none",
                "token_signing_alg_values_expected": "ES256K",
                "accept_none_alg": true,
                "use_jwks": true,
                "session": {"redis": {"server_name": "redis.example.com"}},
            })),
            [
                "token_endpoint_auth_method",
                "introspection_endpoint_auth_method",
                "token_signing_alg_values_expected",
                "accept_none_alg",
                "session.redis.server_name",
            ]
        );
        assert_eq!(fields(json!({"accept_none_alg": true})), [""; 0]);
    }
}
