//! Whatever comes in, nothing panics, and increments add up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gantry_routing::digest::Digest;
use gantry_routing::expr::Expr;
use gantry_routing::plugin::{self, Role};
use gantry_routing::resource::{self, Resource};
use gantry_routing::route::RouteMatch;
use gantry_routing::vars::{Var, Vars};
use gantry_routing::{path, vars};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

struct NoVars;

impl Vars for NoVars {
    fn var(&self, name: &str) -> Option<Var<'_>> {
        (name == "arg_a").then(|| Var::from("1"))
    }
}

/// JSON made of the words that schemas and expressions know.
fn any_json() -> impl Strategy<Value = Value> {
    let word = proptest::sample::select(
        &[
            "", "==", "!", "OR", "~~", "in", "ipmatch", "(", "arg_a", "$env://A", "1", "policy",
            "redis",
        ][..],
    );
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    let name = proptest::sample::select(
        &[
            "_meta",
            "filter",
            "disable",
            "key",
            "secret",
            "headers",
            "set",
            "rules",
            "regex_uri",
            "vars",
            "uri",
            "uris",
            "nodes",
            "upstream",
            "checks",
            "active",
            "snis",
            "whitelist",
            "count",
        ][..],
    );
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::btree_map(name.clone(), inner, 0..6).prop_map(|fields| {
                let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value));
                Value::Object(fields.collect::<Map<_, _>>())
            }),
        ]
    })
}

fn any_role() -> impl Strategy<Value = Role> {
    proptest::sample::select(&[Role::Switch, Role::Consumer, Role::Metadata][..])
}

proptest! {
    #[test]
    fn checks_of_plugins_never_panic(config in any_json(), role in any_role()) {
        for plugin in plugin::all() {
            let mut config = config.clone();
            if plugin::check(&plugin.name, &mut config, role).is_ok() {
                let filled = config.clone();
                prop_assert_eq!(plugin::check(&plugin.name, &mut config, role), Ok(()));
                prop_assert_eq!(config, filled, "defaults are filled in once");
            }
        }
    }

    #[test]
    fn parsing_never_panics(document in any_json(), id in "[a-z/]{0,12}") {
        for directory in ["routes", "services", "upstreams", "consumers", "ssl", "secrets", "plugin_metadata"] {
            let parsed = resource::parse_value(directory, &id, document.clone());
            if let Ok(Resource::Route(route)) = parsed {
                drop(RouteMatch::compile(&route));
            }
        }
    }

    #[test]
    fn expressions_never_panic_and_words_negate(document in any_json()) {
        if let Ok(expr) = Expr::compile(&document) {
            let holds = expr.matches(&NoVars);
            let negated = Expr::compile(&json!(["!AND", [[], document], []]));
            if let Ok(negated) = negated {
                prop_assert_eq!(negated.matches(&NoVars), !holds);
            }
        }
    }

    #[test]
    fn normalised_paths_are_normal(target in "/?[a-c/.%0-9A-F?#é]{0,24}") {
        if let Ok(path) = path::normalize(&target) {
            prop_assert!(path.starts_with('/') && !path.contains("//"), "{}", path);
            let is_dots = |segment: &str| segment == "." || segment == "..";
            prop_assert!(!path.split('/').any(is_dots), "{}", path);
        }
    }

    #[test]
    fn any_path_is_normalised_without_panic(target in any::<String>(), name in any::<String>()) {
        drop(path::normalize(&target));
        drop(path::normalize(&format!("/{target}")));
        prop_assert!(vars::find(&name).is_some() || !vars::is_routing(&name));
    }

    #[test]
    fn a_digest_kept_up_to_date_is_that_of_the_whole(
        steps in proptest::collection::vec(("[a-d]", proptest::option::of("[a-z]{0,3}")), 0..30),
    ) {
        let mut keys: BTreeMap<String, String> = BTreeMap::new();
        let mut digest = Digest::default();
        for (key, value) in steps {
            if let Some(old) = keys.remove(&key) {
                digest.remove(&key, &old);
            }
            if let Some(value) = value {
                digest.add(&key, &value);
                keys.insert(key, value);
            }
        }
        let whole = Digest::of(keys.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        prop_assert_eq!(digest, whole);
    }
}

#[test]
fn a_route_accepts_by_method_address_and_variables() {
    let accepts = |conditions: Value, method: &str, address: &str| {
        let mut route = json!({"uri": "/", "plugins": {}});
        if let (Value::Object(route), Value::Object(conditions)) = (&mut route, conditions) {
            route.extend(conditions);
        }
        let Ok(Resource::Route(route)) = resource::parse_value("routes", "1", route) else {
            panic!("the route is valid");
        };
        let address: IpAddr = address.parse().unwrap();
        RouteMatch::compile(&route).unwrap().accepts(method, address, &NoVars)
    };
    assert!(accepts(json!({}), "BREW", "127.0.0.1"));
    assert!(accepts(json!({"methods": []}), "BREW", "127.0.0.1"));
    assert!(accepts(json!({"methods": ["GET", "PURGE"]}), "PURGE", "127.0.0.1"));
    assert!(!accepts(json!({"methods": ["GET"]}), "BREW", "127.0.0.1"));
    assert!(accepts(json!({"remote_addr": "10.0.0.0/8"}), "GET", "::ffff:10.0.0.1"));
    assert!(!accepts(json!({"remote_addrs": ["10.0.0.0/8", "::1"]}), "GET", "::2"));
    assert!(accepts(json!({"vars": [["arg_a", "==", "1"]]}), "GET", "::1"));
    assert!(!accepts(json!({"vars": [["arg_b", "==", "1"]]}), "GET", "::1"));
}

#[test]
fn a_route_with_lua_is_not_run_without_it() {
    let document = json!({"uri": "/", "plugins": {}, "filter_func": "function() return true end"});
    let Ok(Resource::Route(route)) = resource::parse_value("routes", "1", document) else {
        panic!("the document is valid");
    };
    assert!(RouteMatch::compile(&route).unwrap_err().contains("Lua"));
}
