//! Whatever arrives, nothing panics: configurations, expressions, requests and tokens made by chance.
//!
//! Random bytes are refused early and reach little. So most inputs are right ones with something put
//! in the place of a part of them.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use gantry_routing::{expr::Expr, path, plugin as catalog};
use http::{HeaderValue, Method};
use pingora::http::{RequestHeader, ResponseHeader};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{
    configuration::Configuration,
    exchange::{Client, Exchange, Facts},
    plugin::{Flow, Place, Plugin, Shared, find},
    sync::Change,
};

/// Any JSON of a few levels, with the words that configurations are made of.
fn anything() -> impl Strategy<Value = Value> {
    let words = prop_oneof![
        Just(String::new()),
        Just("remote_addr".to_owned()),
        Just("$host-${arg_a}".to_owned()),
        Just("^(.*)$".to_owned()),
        Just("(((".to_owned()),
        Just("127.0.0.1/33".to_owned()),
        ".{0,12}",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..4).prop_map(Value::from),
        any::<f64>().prop_map(|number| json!(number)),
        words.prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Something in the place of one part of `value`; `steps` lead there.
fn put(value: &mut Value, steps: &[usize], new: &Value) {
    let Some((step, rest)) = steps.split_first() else {
        value.clone_from(new);
        return;
    };
    let inner = match value {
        Value::Object(fields) if !fields.is_empty() => {
            let place = step % fields.len();
            fields.values_mut().nth(place)
        }
        Value::Array(items) if !items.is_empty() => {
            let place = step % items.len();
            items.get_mut(place)
        }
        _ => None,
    };
    match inner {
        Some(inner) => put(inner, rest, new),
        None => value.clone_from(new),
    }
}

/// The documents of all cases, by key.
fn documents() -> Vec<(String, Value)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let backends = [("one", "127.0.0.1:1".to_owned()), ("two", "127.0.0.1:2".to_owned())];
    let cases = gantry_testkit::case::read(&folder, &backends);
    cases.into_iter().flat_map(|case| case.resources).collect()
}

fn change(key: &str, value: &Value) -> Change {
    Change { key: key.to_owned(), value: Some(Arc::from(value.to_string().into_bytes())) }
}

fn request(target: &[u8], headers: &[(&'static str, Vec<u8>)]) -> Option<RequestHeader> {
    let mut request = RequestHeader::build(Method::GET, target, None).ok()?;
    for (name, value) in headers {
        let _ = request.append_header(*name, HeaderValue::from_bytes(value).ok()?);
    }
    Some(request)
}

/// A plugin with a configuration, if it takes it.
fn compile(name: &str, config: &Value) -> Option<Arc<dyn Plugin>> {
    let mut config = config.clone();
    catalog::check(name, &mut config, catalog::Role::Switch).ok()?;
    let shared = Arc::default();
    let place = Place { owner: "/apisix/routes/1", metadata: None, shared: &shared };
    (find(name)?.compile)(&config, &place).ok()
}

/// Lets a plugin see a request and a response, as far as it need not wait. True if it refused.
fn ask(plugin: &Arc<dyn Plugin>, exchange: &mut Exchange, request: &mut RequestHeader) -> bool {
    let rewritten = plugin.rewrite(exchange, request);
    let refused = finish(rewritten, exchange, request);
    let accessed = plugin.access(exchange, request);
    let refused = finish(accessed, exchange, request) || refused;
    let mut response = ResponseHeader::build(200, None).unwrap();
    plugin.response_headers(exchange, request, &mut response);
    if plugin.reads_bodies() {
        plugin.response_body(exchange, &mut Some(Bytes::from_static(b"{\"a\":1}")), false);
        plugin.response_body(exchange, &mut None, true);
    }
    plugin.log(&Facts { exchange, request, response: Some(&response) });
    refused
}

fn finish(mut flow: Flow, exchange: &mut Exchange, request: &mut RequestHeader) -> bool {
    loop {
        match flow {
            Flow::Next => return false,
            Flow::Answer(_) => return true,
            // Who waits for others gets no answer here.
            Flow::Wait(wait) => match wait.now_or_never() {
                Some(resume) => flow = resume(exchange, request),
                None => return false,
            },
            Flow::Body(wanted) => {
                exchange.body.get_or_insert_with(|| Bytes::from_static(b"{\"a\":[1,2]}"));
                flow = (wanted.resume)(exchange, request);
            }
        }
    }
}

fn inside<T>(work: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _inside = runtime.enter();
    work()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_change_of_a_document_is_survived(
        which in any::<prop::sample::Index>(),
        steps in prop::collection::vec(any::<usize>(), 1..6),
        new in anything(),
    ) {
        let problems = inside(|| {
            let documents = documents();
            let mut configuration = Configuration::new("/apisix", Arc::new(Shared::default()));
            let all = documents.iter().map(|(key, value)| change(key, value)).collect();
            configuration.replace(1, all);
            let (key, document) = which.get(&documents);
            let mut changed = document.clone();
            put(&mut changed, &steps, &new);
            configuration.apply(2, vec![change(key, &changed)]);
            let raw = Change { key: key.clone(), value: Some(Arc::from(&b"\xff{"[..])) };
            configuration.apply(3, vec![raw]);
            configuration.applied(false).problems.len()
        });
        prop_assert!(problems > 0, "what is no JSON is reported");
    }

    #[test]
    fn any_configuration_of_a_plugin_is_survived(
        which in any::<prop::sample::Index>(),
        fields in prop::collection::vec((any::<usize>(), anything()), 0..4),
        target in "/[ -~]{0,24}",
        header in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let name = which.get(catalog::RUN_IN_GANTRY);
        let plugin = catalog::get(name).unwrap();
        let known: Vec<&String> = plugin.schema["properties"].as_object().into_iter()
            .flat_map(Map::keys).collect();
        let mut config = Map::new();
        for (place, value) in &fields {
            if let Some(field) = known.get(place % known.len().max(1)) {
                config.insert((*field).clone(), value.clone());
            }
        }
        let headers = [("authorization", header.clone()), ("apikey", header.clone()),
            ("cookie", header.clone()), ("x-request-id", header.clone()), ("origin", header)];
        let request = request(target.as_bytes(), &headers);
        inside(|| {
            let plugin = compile(name, &Value::Object(config));
            if let (Some(plugin), Some(mut request)) = (plugin, request) {
                let mut exchange = Exchange::new(Arc::default());
                exchange.client = Client::new(([127, 0, 0, 1], 7).into());
                ask(&plugin, &mut exchange, &mut request);
            }
        });
    }

    #[test]
    fn any_expression_is_refused_or_answers(source in anything(), target in "/[ -~]{0,24}") {
        if let (Ok(expression), Some(request)) =
            (Expr::compile(&source), request(target.as_bytes(), &[]))
        {
            let exchange = Exchange::new(Arc::default());
            let _ = expression.matches(&exchange.facts(&request));
        }
    }

    #[test]
    fn any_path_is_refused_or_normal(text in ".{0,60}", raw in "[/.%0-9a-fA-F\\\\]{0,40}") {
        for text in [text, raw] {
            if let Ok(normal) = path::normalize(&text) {
                let again = path::normalize(&normal).map(|path| path.into_owned());
                // What was decoded once may decode again, but never climbs up.
                prop_assert!(again.is_err() || !normal.split('/').any(|part| part == ".."));
            }
        }
    }

    #[test]
    fn any_credential_is_refused(
        scheme in "(Bearer |Basic |Signature |hmac-auth )?",
        parts in prop::collection::vec("[A-Za-z0-9_=,. \"-]{0,30}", 0..5),
    ) {
        let text = format!("{scheme}{}", parts.join("."));
        let jack = json!({ "username": "jack", "plugins": {
            "key-auth": { "key": "k-jack" },
            "jwt-auth": { "key": "jack", "secret": "0123456789abcdef0123456789abcdef" },
            "basic-auth": { "username": "jack", "password": "pw" },
            "hmac-auth": { "key_id": "jack", "secret_key": "secret" } } });
        let mut configuration = Configuration::new("/apisix", Arc::new(Shared::default()));
        configuration.apply(1, vec![change("consumers/jack", &jack)]);
        prop_assert!(configuration.applied(false).problems.is_empty());
        let snapshot = Arc::new(configuration.snapshot());
        for name in ["jwt-auth", "basic-auth", "hmac-auth", "key-auth"] {
            let plugin = compile(name, &json!({})).unwrap();
            let headers = [("authorization", text.clone().into_bytes()),
                ("apikey", text.clone().into_bytes())];
            let Some(mut request) = request(b"/", &headers) else { continue };
            let mut exchange = Exchange::new(Arc::clone(&snapshot));
            prop_assert!(ask(&plugin, &mut exchange, &mut request), "{name} let {text:?} in");
        }
    }
}
