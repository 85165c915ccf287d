//! An API: one route.

use gantry_model::Id;
use gantry_model::config::{ApiSpec, ApiType, ApplicationSpec, Plugins, Protocol};
use serde_json::{Map, Value, json};

use crate::application::Inherited;
use crate::document::{Directory, Document, description, labels};
use crate::{Keys, Surroundings, expression, path, plugins};

/// The route of an API; nothing if it or its application is a draft.
#[must_use]
pub fn api(
    id: Id,
    app: Id,
    parent: &ApplicationSpec,
    spec: &ApiSpec,
    around: &Surroundings,
) -> Keys {
    if parent.is_published() && spec.is_published() {
        document(id, app, &Inherited::from(parent), spec, around)
    } else {
        Keys::new()
    }
}

/// As [`api`], also for drafts.
pub fn document(
    id: Id,
    app: Id,
    inherited: &Inherited<'_>,
    spec: &ApiSpec,
    around: &Surroundings,
) -> Keys {
    let mut keys = Keys::new();
    let control = spec.fine_grained_route_control.as_ref();
    let mut route = Document::with_id(&id);
    route.put("name", spec.name.as_str());
    route.put_text("desc", &description(&spec.description));
    let mut labels = labels(&spec.labels);
    labels.insert("cp.app".into(), json!(app.to_string()));
    route.put_map("labels", labels);
    route.put("service_id", app.to_string());
    match path::patterns(inherited.prefix, &spec.paths).as_slice() {
        [one] => route.put("uri", one.as_str()),
        several => route.put("uris", several),
    }
    let methods = methods(inherited, spec);
    if !methods.is_empty() {
        route.put("methods", methods);
    }
    route.put("priority", priority(expression::in_force(control).len()));
    let vars = expression::vars(scheme(inherited, spec), control);
    if !vars.is_empty() {
        route.put("vars", vars);
    }
    if spec.kind == ApiType::WebSocket {
        route.put("enable_websocket", true);
    }
    route.put_map("plugins", route_plugins(inherited, spec, around));
    route.store(&mut keys, Directory::Routes, id);
    keys
}

/// What a caller should know about an API that was accepted; `None` if it does what it says.
#[must_use]
pub fn warning(parent: &ApplicationSpec, spec: &ApiSpec) -> Option<String> {
    let inherited = Inherited::from(parent);
    let own = effective(spec, "proxy-rewrite", inherited.proxy_rewrite);
    (strips(&inherited, spec) && own.is_some_and(sets_uri)).then(|| {
        "`strip_path_prefix` has no effect, because the plugin `proxy-rewrite` sets the path".into()
    })
}

/// Routes with conditions are asked before those without, those with more conditions first. Only
/// matters among routes with the same path pattern.
fn priority(conditions: usize) -> usize {
    conditions.min(100)
}

/// The configuration of a plugin that is in force on a route: the API's own replaces the
/// application's, and either may switch it off.
fn effective<'a>(
    spec: &'a ApiSpec,
    name: &str,
    inherited: Option<&'a Value>,
) -> Option<&'a Map<String, Value>> {
    let config = spec.plugins.get(name).or(inherited)?.as_object()?;
    (!plugins::is_disabled(config)).then_some(config)
}

/// Browsers ask with OPTIONS before they send what an API allows.
fn methods(inherited: &Inherited<'_>, spec: &ApiSpec) -> Vec<String> {
    let mut methods: Vec<String> = Vec::with_capacity(spec.methods.len());
    let preflight = effective(spec, "cors", inherited.cors).map(|_| "OPTIONS".to_owned());
    if !spec.methods.is_empty() {
        for method in spec.methods.iter().cloned().chain(preflight) {
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
    }
    methods
}

/// The scheme a route is bound to. HTTPS-only applications answer plain HTTP with a redirect, unless
/// a redirect of the user stands in its place: then plain HTTP does not match at all.
fn scheme(inherited: &Inherited<'_>, spec: &ApiSpec) -> Option<&'static str> {
    let own = spec.plugins.get("redirect").or(inherited.redirect);
    match inherited.protocol? {
        Protocol::Http => Some("http"),
        Protocol::Https => own.is_some_and(|config| !redirects_to_https(config)).then_some("https"),
    }
}

fn redirects_to_https(redirect: &Value) -> bool {
    redirect.as_object().is_some_and(|config| {
        !plugins::is_disabled(config) && config.get("http_to_https") == Some(&json!(true))
    })
}

fn strips(inherited: &Inherited<'_>, spec: &ApiSpec) -> bool {
    spec.strip_path_prefix && !inherited.prefix.is_empty()
}

fn sets_uri(proxy_rewrite: &Map<String, Value>) -> bool {
    proxy_rewrite.contains_key("uri") || proxy_rewrite.contains_key("regex_uri")
}

/// The API's own plugins; taking the prefix off is done by `proxy-rewrite`, beside what the user
/// wants of it.
fn route_plugins(inherited: &Inherited<'_>, spec: &ApiSpec, around: &Surroundings) -> Plugins {
    let mut plugins = plugins::expanded(&spec.plugins, around);
    if strips(inherited, spec) {
        let own = effective(spec, "proxy-rewrite", inherited.proxy_rewrite);
        if !own.is_some_and(sets_uri) {
            let mut merged = own.cloned().unwrap_or_default();
            merged.insert("regex_uri".into(), json!([path::strip_regex(inherited.prefix), "/$1"]));
            plugins.insert("proxy-rewrite".into(), Value::Object(merged));
        }
    }
    plugins
}
