use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::route::Broken;

fn change(key: &str, value: &Value) -> Change {
    Change { key: key.to_owned(), value: Some(value.to_string().as_bytes().into()) }
}

fn configuration(revision: i64, changes: &[(&str, Value)]) -> Configuration {
    let mut configuration = Configuration::new("/apisix", Arc::new(Shared::default()));
    apply(&mut configuration, revision, changes);
    configuration
}

fn apply(configuration: &mut Configuration, revision: i64, changes: &[(&str, Value)]) {
    let changes = changes.iter().map(|(key, value)| change(key, value)).collect();
    configuration.apply(revision, changes);
}

fn found(configuration: &Configuration, host: &str, path: &str) -> Option<Arc<Route>> {
    let candidate = configuration.snapshot.routes.lookup(host, path, |_| true)?;
    Some(Arc::clone(&candidate.route))
}

fn problems(configuration: &Configuration) -> Vec<String> {
    configuration.applied(false).problems.into_iter().map(|problem| problem.key).collect()
}

fn service(host: &str) -> Value {
    json!({ "hosts": [host], "plugins": { "key-auth": {} } })
}

#[test]
fn a_route_comes_after_its_service_whatever_their_order() {
    let route = json!({ "uri": "/a", "service_id": "1" });
    let configuration = configuration(1, &[("routes/1", route), ("services/1", service("a.com"))]);
    assert!(problems(&configuration).is_empty());
    let route = found(&configuration, "a.com", "/a").unwrap();
    assert!(found(&configuration, "b.com", "/a").is_none());
    assert!(Arc::ptr_eq(&route.plugins, &route.service.as_ref().unwrap().plugins), "shared");
}

#[test]
fn a_route_follows_its_service() {
    let route = json!({ "uri": "/a", "service_id": "1" });
    let mut configuration = configuration(1, &[("routes/1", route)]);
    assert_eq!(problems(&configuration), ["/apisix/routes/1"]);
    assert_eq!(found(&configuration, "a.com", "/a").unwrap().broken, Some(Broken::Service));
    apply(&mut configuration, 2, &[("services/1", service("a.com"))]);
    assert!(problems(&configuration).is_empty());
    apply(&mut configuration, 3, &[("services/1", service("b.com"))]);
    assert!(found(&configuration, "a.com", "/a").is_none());
    assert!(found(&configuration, "b.com", "/a").is_some());
    configuration.apply(4, vec![Change { key: "routes/1".to_owned(), value: None }]);
    assert!(configuration.dependents.is_empty() && configuration.snapshot.routes.is_empty());
}

#[test]
fn a_text_that_is_refused_stays_reported_while_the_one_before_follows_its_service() {
    let route = json!({ "uri": "/a", "service_id": "1" });
    let mut configuration =
        configuration(1, &[("routes/1", route), ("services/1", service("a.com"))]);
    for (revision, refused) in [(2, json!({ "uri": 7 })), (3, json!({ "uri": "/a/*/(" }))] {
        apply(&mut configuration, revision, &[("routes/1", refused)]);
        apply(&mut configuration, revision, &[("services/1", service("b.com"))]);
        assert_eq!(problems(&configuration), ["/apisix/routes/1"]);
        assert!(found(&configuration, "b.com", "/a").is_some());
    }
    apply(&mut configuration, 4, &[("routes/1", json!({ "uri": "/c", "service_id": "1" }))]);
    assert!(problems(&configuration).is_empty());
    assert!(found(&configuration, "b.com", "/a").is_none());
    assert!(found(&configuration, "b.com", "/c").is_some());
}

#[test]
fn a_route_says_which_of_its_variables_nobody_can_read() {
    let route = json!({ "uri": "/a", "plugins": {},
        "vars": ["OR", ["connection_time", ">", 1], ["uri", "~~", "^/a"]] });
    let configuration = configuration(1, &[("routes/1", route)]);
    let problems = configuration.applied(false).problems;
    assert!(problems[0].reason.contains("`connection_time`"), "{}", problems[0].reason);
    assert!(!problems[0].reason.contains("`uri`") && found(&configuration, "a", "/a").is_some());
}

/// Whatever id the documents have: the key is what is deleted.
#[test]
fn consumers_and_credentials_go_with_their_keys() {
    let key = |key: &str| json!({ "key-auth": { "key": key } });
    let jack = json!({ "id": "j", "username": "jack", "plugins": key("one") });
    let credential = json!({ "id": "c", "plugins": key("two") });
    let (person, other) = ("consumers/jack", "consumers/jack/credentials/k");
    let mut configuration = configuration(1, &[(person, jack), (other, credential)]);
    let found = |configuration: &Configuration, key: &str| {
        let found = configuration.snapshot.consumers.credential("key-auth", key)?;
        Some((found.consumer.name.clone(), found.id.clone()))
    };
    assert!(problems(&configuration).is_empty());
    assert_eq!(found(&configuration, "one"), Some(("jack".to_owned(), None)));
    assert_eq!(found(&configuration, "two"), Some(("jack".to_owned(), Some("k".to_owned()))));
    configuration.apply(2, vec![Change { key: other.to_owned(), value: None }]);
    assert_eq!(found(&configuration, "two"), None);
    configuration.apply(3, vec![Change { key: person.to_owned(), value: None }]);
    assert_eq!(found(&configuration, "one"), None);
}

#[test]
fn metadata_that_changes_compiles_everything_anew() {
    let route = json!({ "uri": "/a", "service_id": "1" });
    let mut configuration =
        configuration(1, &[("routes/1", route), ("services/1", service("a.com"))]);
    let before = found(&configuration, "a.com", "/a").unwrap();
    apply(&mut configuration, 2, &[("plugin_metadata/key-auth", json!({}))]);
    let after = found(&configuration, "a.com", "/a").unwrap();
    assert!(!Arc::ptr_eq(&before.plugins, &after.plugins));
    configuration.apply(3, vec![Change { key: "services/1".to_owned(), value: None }]);
    assert_eq!(found(&configuration, "x.com", "/a").unwrap().broken, Some(Broken::Service));
}
