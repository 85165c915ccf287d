//! An application: one service, and one upstream for each of its versions.

use gantry_model::Id;
use gantry_model::config::{ApplicationSpec, Plugins, Protocol};
use serde_json::{Value, json};

use crate::document::{Directory, Document, description, labels};
use crate::{Keys, Surroundings, canary_release, path, plugins, upstream};

/// The service and the upstreams of an application; nothing for a draft.
#[must_use]
pub fn application(id: Id, spec: &ApplicationSpec, around: &Surroundings) -> Keys {
    if spec.is_published() { documents(id, spec, around) } else { Keys::new() }
}

/// As [`application`], also for a draft.
pub fn documents(id: Id, spec: &ApplicationSpec, around: &Surroundings) -> Keys {
    let mut keys = Keys::new();
    for entry in &spec.upstreams {
        upstream::store(&mut keys, id, &spec.name, entry, around);
    }
    let mut service = Document::with_id(&id);
    service.put("name", spec.name.as_str());
    service.put_text("desc", &description(&spec.description));
    service.put_map("labels", labels(&spec.labels));
    service.put("hosts", hosts(&spec.hosts));
    service.put("upstream_id", upstream::upstream_id(id, &spec.default_upstream_version));
    service.put_map("plugins", service_plugins(id, spec, around));
    service.store(&mut keys, Directory::Services, id);
    keys
}

/// Whether an edit of an application changes what its routes say (facts/apisix/translation.md §12.1).
#[must_use]
pub fn touches_routes(old: &ApplicationSpec, new: &ApplicationSpec) -> bool {
    Inherited::from(old) != Inherited::from(new)
}

/// All that a route takes from its application. A route is translated from this and nothing else of
/// the application, so what is not here cannot touch routes.
#[derive(PartialEq)]
pub struct Inherited<'a> {
    pub published: bool,
    /// Without a slash at its end; empty for `/`.
    pub prefix: &'a str,
    pub protocol: Option<Protocol>,
    pub cors: Option<&'a Value>,
    pub proxy_rewrite: Option<&'a Value>,
    /// As the user wrote it.
    pub redirect: Option<&'a Value>,
}

impl<'a> From<&'a ApplicationSpec> for Inherited<'a> {
    fn from(spec: &'a ApplicationSpec) -> Self {
        Self {
            published: spec.is_published(),
            prefix: path::trimmed(&spec.path_prefix),
            protocol: spec.only_protocol(),
            cors: spec.plugins.get("cors"),
            proxy_rewrite: spec.plugins.get("proxy-rewrite"),
            redirect: spec.plugins.get("redirect"),
        }
    }
}

/// Lower-cased, each once, in the order given.
fn hosts(list: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = Vec::with_capacity(list.len());
    for host in list.iter().map(|host| host.to_ascii_lowercase()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Place of the redirect to HTTPS among the plugins: before authentication, because a client that
/// came by the wrong protocol should not be asked for its credentials in clear text.
const REDIRECT_PRIORITY: i32 = 2_850;

fn service_plugins(id: Id, spec: &ApplicationSpec, around: &Surroundings) -> Plugins {
    let mut plugins = plugins::expanded(&spec.plugins, around);
    if spec.only_protocol() == Some(Protocol::Https) {
        plugins.entry("redirect").or_insert_with(
            || json!({ "http_to_https": true, "_meta": { "priority": REDIRECT_PRIORITY } }),
        );
    }
    if let Some(release) = around.canary_releases.get(&id) {
        let split = canary_release::traffic_split(id, release);
        plugins.insert(canary_release::PLUGIN.into(), split);
    }
    plugins
}
