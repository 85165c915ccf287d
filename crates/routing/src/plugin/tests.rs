use serde_json::json;

use super::*;

#[track_caller]
fn accepted(name: &str, role: Role, mut config: Value) -> Value {
    assert_eq!(check(name, &mut config, role), Ok(()), "{name} {config}");
    config
}

/// The broken rules as sentences.
#[track_caller]
fn refused(name: &str, role: Role, mut config: Value) -> Vec<String> {
    let violations = check(name, &mut config, role).expect_err("the configuration is wrong");
    violations.iter().map(ToString::to_string).collect()
}

#[test]
fn every_schema_compiles_and_refuses_what_is_no_object() {
    assert_eq!(all().count(), 120);
    for plugin in all() {
        for role in [Role::Switch, Role::Consumer, Role::Metadata] {
            if let Some(Err(error)) = plugin.compiled(role) {
                panic!("{} {role:?}: {error}", plugin.name);
            }
            assert!(check(&plugin.name, &mut json!("text"), role).is_err());
        }
    }
}

#[test]
fn defaults_are_written_before_the_schema_is_applied() {
    let config = accepted("limit-count", Role::Switch, json!({"count": 2, "time_window": 60}));
    assert_eq!(config["policy"], "local");
    assert_eq!(config["rejected_code"], 503);
    assert_eq!(config.get("redis_port"), None);
    let config = accepted(
        "limit-count",
        Role::Switch,
        json!({"count": 2, "time_window": 60, "policy": "redis", "redis_host": "127.0.0.1"}),
    );
    assert_eq!(config["redis_port"], 6379);
}

#[test]
fn messages_name_the_field_the_rule_and_an_example() {
    let count = json!({"count": 0, "time_window": 60, "rejected_code": 100, "key_type": "x"});
    assert_eq!(
        refused("limit-count", Role::Switch, count),
        [
            "`count` has none of the allowed forms, for example 1",
            "`key_type` must be one of \"var\", \"var_combination\", \"constant\", for example \"var\"",
            "`rejected_code` must be at least 200, for example 503",
        ]
    );
    assert_eq!(
        refused("key-auth", Role::Consumer, json!({})),
        ["`key` is required, for example \"example\""]
    );
    assert_eq!(
        refused("ip-restriction", Role::Switch, json!({})),
        ["it needs one of: `whitelist`, `blacklist`, for example {\"whitelist\":[\"127.0.0.1\"]}"]
    );
    assert_eq!(
        refused("no-such", Role::Switch, json!({})),
        ["it is not valid: there is no plugin `no-such`"]
    );
}

#[test]
fn meta_is_allowed_everywhere_and_has_its_own_rules() {
    let meta = json!({"disable": false, "priority": 5, "filter": [["arg_a", "==", "1"]]});
    let config = accepted("brotli", Role::Switch, json!({"_meta": meta}));
    assert_eq!(config["_meta"], meta);
    assert_eq!(
        refused("key-auth", Role::Switch, json!({"_meta": {"priority": "high", "other": 1}})),
        [
            "`_meta.other` is not a known field",
            "`_meta.priority` must be a whole number, for example 1",
        ]
    );
    let filter = refused("key-auth", Role::Switch, json!({"_meta": {"filter": ["a", "==", "b"]}}));
    assert!(filter[0].starts_with("`_meta.filter` must be an expression"), "{filter:?}");
}

#[test]
fn what_is_switched_off_may_be_wrong() {
    let config = json!({"_meta": {"disable": true}, "count": "many"});
    assert_eq!(accepted("limit-count", Role::Switch, config.clone()), config);
}

#[test]
fn references_to_secrets_pass_where_texts_are_allowed() {
    accepted("basic-auth", Role::Consumer, json!({"username": "a", "password": "$env://P"}));
    accepted(
        "jwt-auth",
        Role::Consumer,
        json!({"key": "k", "secret": "$secret://vault/1/k", "base64_secret": true}),
    );
    accepted("ip-restriction", Role::Switch, json!({"whitelist": ["$env://NET"]}));
}

#[test]
fn roles_have_schemas_of_their_own() {
    accepted("key-auth", Role::Switch, json!({}));
    accepted("key-auth", Role::Consumer, json!({"key": "secret"}));
    let metadata = accepted("limit-count", Role::Metadata, json!({"id": "limit-count"}));
    assert_eq!(metadata["limit_header"], "X-RateLimit-Limit");
    assert_eq!(metadata["id"], "limit-count");
    accepted("key-auth", Role::Metadata, json!({"anything": 1}));
}

#[test]
fn rules_in_code_are_applied() {
    let cases = [
        ("redirect", json!({"regex_uri": ["(", "/"]}), "regex_uri[0]"),
        (
            "redirect",
            json!({"http_to_https": true, "append_query_string": true}),
            "append_query_string",
        ),
        ("proxy-rewrite", json!({"regex_uri": ["^/a", "/b", "^/c"]}), "regex_uri"),
        ("proxy-rewrite", json!({"regex_uri": ["(", "/b"]}), "regex_uri[0]"),
        ("proxy-rewrite", json!({"headers": {"set": {"a b": "c"}}}), "headers.set.a b"),
        ("proxy-rewrite", json!({"headers": {"X": "a\nb"}}), "headers.X"),
        ("response-rewrite", json!({"body": "?", "body_base64": true}), "body"),
        ("response-rewrite", json!({"vars": [["status", "is", 200]]}), "vars"),
        (
            "response-rewrite",
            json!({"filters": [{"regex": "(", "replace": ""}]}),
            "filters[0].regex",
        ),
        (
            "cors",
            json!({"allow_credential": true, "allow_methods": "GET", "allow_headers": "A"}),
            "allow_origins",
        ),
        ("cors", json!({"allow_origins_by_regex": ["a", "("]}), "allow_origins_by_regex[1]"),
        ("ip-restriction", json!({"whitelist": ["::1::/64"]}), "whitelist[0]"),
        (
            "limit-count",
            json!({"rules": [{"count": 1, "time_window": 1, "key": "a"}, {"count": 1, "time_window": 2, "key": "a"}]}),
            "rules[1].key",
        ),
        (
            "limit-count",
            json!({"count": 1, "time_window": 5, "policy": "redis", "redis_host": "redis", "sync_interval": 5}),
            "sync_interval",
        ),
        (
            "limit-count",
            json!({"count": 1, "time_window": 5, "policy": "redis-sentinel", "redis_master_name": "m"}),
            "redis_sentinels",
        ),
        (
            "openid-connect",
            json!({"client_id": "a", "discovery": "d", "use_pkce": true}),
            "session",
        ),
        (
            "openid-connect",
            json!({"client_id": "a", "discovery": "d", "session": {"secret": "sixteen characters"}}),
            "client_secret",
        ),
        (
            "openid-connect",
            json!({"client_id": "a", "discovery": "d", "bearer_only": true,
                "token_endpoint_auth_method": "private_key_jwt"}),
            "client_secret",
        ),
        (
            "openid-connect",
            json!({"client_id": "a", "discovery": "d", "bearer_only": true, "use_jwks": true,
                "claim_schema": {"type": "nothing"}}),
            "claim_schema",
        ),
        (
            "fault-injection",
            json!({"abort": {"http_status": 500, "vars": [[["a", "?", 1]]]}}),
            "abort.vars[0]",
        ),
        ("uri-blocker", json!({"block_rules": ["(?<"]}), "block_rules[0]"),
        (
            "traffic-split",
            json!({"rules": [{"match": [{"vars": [["a"]]}]}]}),
            "rules[0].match[0].vars",
        ),
        (
            "http-logger",
            json!({"uri": "http://127.0.0.1", "include_req_body_expr": [["a"]]}),
            "include_req_body_expr",
        ),
    ];
    for (name, mut config, field) in cases {
        let violations = check(name, &mut config, Role::Switch).expect_err(name);
        let fields: Vec<&str> = violations.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields, [field], "{name} {config}: {violations:?}");
    }
}

#[test]
fn jwt_credentials_need_what_their_algorithm_needs() {
    let refused = |config| refused("jwt-auth", Role::Consumer, config).join(" ");
    assert!(refused(json!({"key": "k"})).starts_with("`secret` is required"));
    assert!(refused(json!({"key": "k", "algorithm": "ES256"})).contains("public_key"));
    assert!(refused(json!({"key": "k", "secret": "?", "base64_secret": true})).contains("base64"));
    accepted("jwt-auth", Role::Consumer, json!({"key": "k", "secret": "s"}));
    let keys = json!({"key": "k", "algorithm": "ES256", "public_key": "-----BEGIN"});
    accepted("jwt-auth", Role::Consumer, keys);
}

#[test]
fn secrets_are_found_in_lists_and_maps() {
    let secrets = |name, role, config: Value| {
        let Value::Object(mut config) = config else { panic!("not an object") };
        let mut seen = Vec::new();
        visit_secrets(name, role, &mut config, |secret| seen.push(secret.to_string()));
        seen
    };
    assert_eq!(secret_fields("key-auth", Role::Consumer), ["key"]);
    assert!(secret_fields("key-auth", Role::Switch).is_empty());
    assert!(secret_fields("no-such", Role::Switch).is_empty());
    assert_eq!(secrets("key-auth", Role::Consumer, json!({"key": "a"})), ["\"a\""]);
    let brokers = json!({"brokers": [{"sasl_config": {"password": "p"}}, {"host": "h"}]});
    assert_eq!(secrets("kafka-logger", Role::Switch, brokers), ["\"p\""]);
    let headers = json!({"headers": {"Authorization": "x"}, "auth": {"username": "u"}});
    assert_eq!(secrets("elasticsearch-logger", Role::Switch, headers), ["\"x\""]);
}
