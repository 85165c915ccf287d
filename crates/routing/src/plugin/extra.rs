//! The rules of plugins that JSON Schema cannot say.
//!
//! Not checked here, for want of the means: Lua code, GraphQL documents, OpenAPI documents, and what
//! depends on other resources or on the local files of a gateway.

use std::collections::HashSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Plugin, Role};
use crate::expr::{self, Expr};
use crate::regex;
use crate::schema::{Violation, is_reference};

/// What a text or a list must be.
#[derive(Clone, Copy)]
enum Form {
    Regex,
    Net,
    Expression,
}

/// Plugin (`*` for all), path and form; `[]` stands for every item of a list.
const FORMS: [(&str, &str, Form); 22] = [
    ("*", "include_req_body_expr", Form::Expression),
    ("*", "include_resp_body_expr", Form::Expression),
    ("ai-prompt-guard", "allow_patterns[]", Form::Regex),
    ("ai-prompt-guard", "deny_patterns[]", Form::Regex),
    ("chaitin-waf", "match[].vars", Form::Expression),
    ("cors", "allow_origins_by_regex[]", Form::Regex),
    ("cors", "timing_allow_origins_by_regex[]", Form::Regex),
    ("fault-injection", "abort.vars[]", Form::Expression),
    ("fault-injection", "delay.vars[]", Form::Expression),
    ("file-logger", "match[]", Form::Expression),
    ("ip-restriction", "blacklist[]", Form::Net),
    ("ip-restriction", "whitelist[]", Form::Net),
    ("real-ip", "trusted_addresses[]", Form::Net),
    ("redirect", "regex_uri[0]", Form::Regex),
    ("response-rewrite", "filters[].regex", Form::Regex),
    ("response-rewrite", "vars", Form::Expression),
    ("traffic-label", "rules[].match", Form::Expression),
    ("traffic-split", "rules[].match[].vars", Form::Expression),
    ("ua-restriction", "allowlist[]", Form::Regex),
    ("ua-restriction", "denylist[]", Form::Regex),
    ("uri-blocker", "block_rules[]", Form::Regex),
    ("workflow", "rules[].case", Form::Expression),
];

/// Expects a configuration that passed the schema.
pub(super) fn check(plugin: &Plugin, config: &Value, role: Role) -> Vec<Violation> {
    let mut violations = Vec::new();
    if role == Role::Metadata {
        return violations;
    }
    for (_, path, form) in FORMS.iter().filter(|(name, _, _)| *name == "*" || *name == plugin.name)
    {
        visit(config, path, "", &mut |field, value| {
            violations.extend(form.check(field, value));
        });
    }
    match (plugin.name.as_str(), role) {
        ("jwt-auth", Role::Consumer) => violations.extend(jwt_auth(config)),
        ("cors", _) => violations.extend(cors(config)),
        ("limit-count" | "graphql-limit-count", _) => violations.extend(limit_count(config)),
        ("mocking", _) => violations.extend(mocking(config)),
        ("openid-connect", _) => violations.extend(openid_connect(config)),
        ("proxy-rewrite", _) => violations.extend(proxy_rewrite(config)),
        ("redirect", _) => violations.extend(redirect(config)),
        ("response-rewrite", _) => violations.extend(response_rewrite(config)),
        ("request-validation", _) => violations.extend(request_validation(config)),
        _ => {}
    }
    violations
}

/// Calls `found` for all values at a path.
fn visit(value: &Value, path: &str, field: &str, found: &mut impl FnMut(&str, &Value)) {
    if path.is_empty() {
        return found(field, value);
    }
    if let Some(rest) = path.strip_prefix("[]") {
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            visit(item, rest, &format!("{field}[{index}]"), found);
        }
    } else if let Some(rest) = path.strip_prefix("[0]") {
        if let Some(item) = value.get(0) {
            visit(item, rest, &format!("{field}[0]"), found);
        }
    } else {
        let path = path.strip_prefix('.').unwrap_or(path);
        let (name, rest) = path.split_at(path.find(['.', '[']).unwrap_or(path.len()));
        if let Some(inner) = value.get(name) {
            let dot = if field.is_empty() { "" } else { "." };
            visit(inner, rest, &format!("{field}{dot}{name}"), found);
        }
    }
}

impl Form {
    fn check(self, field: &str, value: &Value) -> Option<Violation> {
        let text = value.as_str().unwrap_or_default();
        match self {
            _ if is_reference(value) => None,
            Self::Regex => compiles(field, text),
            Self::Net => expr::net(text).err().map(|_| {
                Violation::new(field, "must be an IP address or a network")
                    .with_example(&json!("10.0.0.0/8"))
            }),
            Self::Expression => expression(field, value),
        }
    }
}

/// Whether a list of conditions compiles.
pub(super) fn expression(field: &str, value: &Value) -> Option<Violation> {
    Expr::compile(value).err().map(|error| {
        Violation::new(field, format!("must be an expression: {error}"))
            .with_example(&json!([["arg_name", "==", "json"]]))
    })
}

fn compiles(field: &str, pattern: &str) -> Option<Violation> {
    regex::compile(pattern, false).err().map(|error| {
        Violation::new(field, format!("must be a regular expression: {error}"))
            .with_example(&json!("^/path/[0-9]+$"))
    })
}

fn text<'a>(config: &'a Value, field: &str) -> Option<&'a str> {
    config.get(field).and_then(Value::as_str)
}

fn is_on(config: &Value, field: &str) -> bool {
    config.get(field) == Some(&Value::Bool(true))
}

fn jwt_auth(config: &Value) -> Option<Violation> {
    let algorithm = text(config, "algorithm").unwrap_or("HS256");
    let rule = |field: &str| format!("is required with the algorithm {algorithm}, `{field}`");
    if !algorithm.starts_with("HS") {
        let is_missing = text(config, "public_key").is_none();
        return is_missing.then(|| Violation::new("public_key", rule("algorithm")));
    }
    let Some(secret) = config.get("secret") else {
        let violation = Violation::new("secret", rule("algorithm"));
        return Some(violation.with_example(&json!("a long random text")));
    };
    let is_base64 = secret.as_str().is_some_and(|secret| STANDARD.decode(secret).is_ok());
    (is_on(config, "base64_secret") && !is_base64 && !is_reference(secret)).then(|| {
        Violation::new("secret", "must be base64 because `base64_secret` is true")
            .with_example(&json!("YSBsb25nIHJhbmRvbSB0ZXh0"))
    })
}

fn cors(config: &Value) -> Vec<Violation> {
    const FIELDS: [(&str, &str); 5] = [
        ("allow_origins", "https://example.com"),
        ("allow_methods", "GET,POST"),
        ("allow_headers", "Content-Type"),
        ("expose_headers", "X-Request-Id"),
        ("timing_allow_origins", "https://example.com"),
    ];
    if !is_on(config, "allow_credential") {
        return Vec::new();
    }
    FIELDS
        .iter()
        .filter(|(field, _)| text(config, field) == Some("*"))
        .map(|(field, example)| {
            Violation::new(*field, "must not be \"*\" because `allow_credential` is true")
                .with_example(&json!(example))
        })
        .collect()
}

fn limit_count(config: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    if let Some(rules) = config.get("rules").and_then(Value::as_array) {
        if config.get("group").is_some() {
            violations.push(Violation::new("group", "must not be used together with `rules`"));
        }
        let mut keys = HashSet::new();
        for (index, rule) in rules.iter().enumerate() {
            if text(rule, "key").is_some_and(|key| !keys.insert(key)) {
                let field = format!("rules[{index}].key");
                violations.push(Violation::new(field, "must differ from the keys before it"));
            }
        }
    }
    let interval = config.get("sync_interval").and_then(Value::as_f64).unwrap_or(-1.0);
    let window = config.get("time_window").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
    let is_remote = text(config, "policy").is_some_and(|policy| policy.starts_with("redis"));
    if is_remote && interval != -1.0 && !(0.1..window).contains(&interval) {
        let rule = "must be -1, or at least 0.1 and less than `time_window`";
        violations.push(Violation::new("sync_interval", rule).with_example(&json!(-1)));
    }
    violations
}

fn mocking(config: &Value) -> Option<Violation> {
    const TYPES: [&str; 5] =
        ["application/xml", "application/json", "text/plain", "text/html", "text/xml"];
    let content_type = text(config, "content_type")?.split(';').next()?.trim();
    (!TYPES.contains(&content_type)).then(|| {
        Violation::new("content_type", format!("must be one of {}", TYPES.join(", ")))
            .with_example(&json!("application/json"))
    })
}

fn openid_connect(config: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    let bearer_only = is_on(config, "bearer_only");
    if !bearer_only && config.get("session").is_none() {
        let violation = Violation::new("session", "is required unless `bearer_only` is true");
        let example = json!({"secret": "at least sixteen characters"});
        violations.push(violation.with_example(&example));
    }
    let signs = |field: &str| text(config, field) == Some("private_key_jwt");
    let does_without = if bearer_only {
        let verifies = is_on(config, "use_jwks") || config.get("public_key").is_some();
        verifies || signs("introspection_endpoint_auth_method")
    } else {
        is_on(config, "use_pkce") || signs("token_endpoint_auth_method")
    };
    if !does_without && config.get("client_secret").is_none() {
        let rule = if bearer_only {
            "is required unless `use_jwks` or `public_key` verifies tokens, or \
             `introspection_endpoint_auth_method` is private_key_jwt"
        } else {
            "is required unless `use_pkce` is true or `token_endpoint_auth_method` is private_key_jwt"
        };
        let example = json!("what the provider knows this client by");
        violations.push(Violation::new("client_secret", rule).with_example(&example));
    }
    violations.extend(compiled(config, "claim_schema"));
    violations
}

/// Whether a field, if it is there, is a JSON Schema.
fn compiled(config: &Value, field: &str) -> Option<Violation> {
    let error = jsonschema::draft7::new(config.get(field)?).err()?;
    Some(Violation::new(field, format!("must be a JSON Schema: {error}")))
}

fn proxy_rewrite(config: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    if let Some(pairs) = config.get("regex_uri").and_then(Value::as_array) {
        if pairs.len() % 2 == 1 {
            let rule = "must hold pairs of a regular expression and a replacement";
            let example = json!(["^/old/(.*)", "/new/$1"]);
            violations.push(Violation::new("regex_uri", rule).with_example(&example));
        }
        for (index, pattern) in pairs.iter().enumerate().step_by(2) {
            let pattern = pattern.as_str().unwrap_or_default();
            violations.extend(compiles(&format!("regex_uri[{index}]"), pattern));
        }
    }
    violations.extend(headers(config));
    violations
}

/// Names and values in all forms of `headers`: `set` and `add`, or flat.
fn headers(config: &Value) -> Vec<Violation> {
    let Some(headers) = config.get("headers").and_then(Value::as_object) else { return Vec::new() };
    let is_grouped = headers
        .iter()
        .all(|(name, value)| matches!(name.as_str(), "add" | "set" | "remove") && !is_plain(value));
    let groups = ["add", "set"].iter().filter_map(|group| {
        headers.get(*group)?.as_object().map(|fields| (format!("headers.{group}"), fields))
    });
    let flat = (!is_grouped).then(|| ("headers".to_owned(), headers));
    let groups: Vec<_> = if is_grouped { groups.collect() } else { flat.into_iter().collect() };
    let fields = groups
        .iter()
        .flat_map(|(group, fields)| fields.iter().map(move |(name, value)| (group, name, value)));
    fields
        .filter_map(|(group, name, value)| header(&format!("{group}.{name}"), name, value))
        .collect()
}

fn is_plain(value: &Value) -> bool {
    value.is_string() || value.is_number()
}

fn header(field: &str, name: &str, value: &Value) -> Option<Violation> {
    const PUNCTUATION: &[u8] = b"!#$%&'*+-.^_`|~";
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || PUNCTUATION.contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Some(Violation::new(field, "is not a valid name of a header"));
    }
    let breaks =
        |value: &Value| value.as_str().is_some_and(|text| text.contains(['\r', '\n', '\0']));
    let is_broken = match value {
        Value::Array(items) => items.iter().any(breaks),
        value => breaks(value),
    };
    is_broken.then(|| Violation::new(field, "must not hold line breaks"))
}

fn redirect(config: &Value) -> Option<Violation> {
    (is_on(config, "http_to_https") && is_on(config, "append_query_string")).then(|| {
        Violation::new("append_query_string", "must not be true together with `http_to_https`")
            .with_example(&json!(false))
    })
}

fn response_rewrite(config: &Value) -> Vec<Violation> {
    let mut violations = headers(config);
    let body = text(config, "body").unwrap_or_default();
    if is_on(config, "body_base64") && (body.is_empty() || STANDARD.decode(body).is_err()) {
        let rule = "must be base64 because `body_base64` is true";
        violations.push(Violation::new("body", rule).with_example(&json!("aGVsbG8K")));
    }
    violations
}

fn request_validation(config: &Value) -> Vec<Violation> {
    ["header_schema", "body_schema"].iter().filter_map(|field| compiled(config, field)).collect()
}
