//! Properties of all operations, tested by walking the list of routes and the contract.

use gantry_app::access::{self, Scope};
use gantry_rest::contract::{Operation, contract, example};
use gantry_rest::routes::routes;
use serde_json::{Map, Value, json};

use crate::alert_history::delivery;
use crate::alert_policy::alert_policy;
use crate::harness::{Person, api, certificate, on_both};
use crate::mutation::{full, mutations};

/// Id of nothing.
const UNKNOWN: &str = "999999999999999999";

/// Operations that a signed-in user calls.
fn guarded() -> Vec<(&'static Operation, Scope)> {
    let routes = routes().into_iter().map(|route| {
        (contract().operation(route.id).unwrap(), access::rule(route.id).unwrap().scope)
    });
    routes.filter(|(_, scope)| !matches!(scope, Scope::Public | Scope::Gateway)).collect()
}

/// The operation's path with ids put in; ids without a value are unknown ones.
pub fn path(operation: &Operation, ids: &[(&str, &str)]) -> String {
    let segments = operation.path().split('/').skip(3).map(|segment| {
        let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
            return segment.to_owned();
        };
        let schema = &operation.params().schema()["properties"][name];
        let given = ids.iter().find(|(id, _)| *id == name).map(|(_, value)| json!(value));
        let value = given.or_else(|| schema.get("pattern").map(|_| json!(UNKNOWN)));
        match value.or_else(|| example(schema)).unwrap() {
            Value::String(text) => text,
            number => number.to_string(),
        }
    });
    segments.fold(String::new(), |path, segment| path + "/" + &segment)
}

/// A body with everything the contract knows.
fn body(operation: &Operation) -> Option<Value> {
    let mut given: Map<String, Value> = certificate("a.example.com").as_object().unwrap().clone();
    for name in ["plugins", "credentials", "acl", "authentication", "logging"] {
        given.insert(name.into(), Value::Null);
    }
    // One of the two ways to name roles is enough.
    given.insert("role_ids".into(), Value::Null);
    given.insert("methods".into(), json!(["GET"]));
    given.insert("custom_payload".into(), json!({ "role": "admin" }));
    given.insert("ca_certificate".into(), given["certificate"].clone());
    operation.body().map(|checker| full(checker.schema(), &given))
}

#[tokio::test]
async fn every_operation_is_closed_to_nobodies() {
    on_both(|server| async move {
        let nobody = server.anonymous();
        let mut forged = nobody.clone();
        forged.token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.".into();
        for (operation, _) in guarded() {
            let (method, path) = (operation.method().clone(), path(operation, &[]));
            for caller in [&nobody, &forged] {
                let answer = caller.call(method.clone(), &path, None).await;
                answer.refused(401, 6);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn ids_of_others_are_answered_as_unknown_ones() {
    on_both(|server| async move {
        let (owner, stranger) = (&server.owner, &server.stranger);
        let app = owner.application("shop").await;
        let api = owner.post(&format!("/apps/{app}/apis"), api("cart")).await.id();
        let consumer = json!({ "name": "alice" });
        let consumer = owner.post(&owner.in_cluster("/consumers"), consumer).await.id();
        let tls = certificate("a.example.com");
        let tls = owner.post(&owner.in_cluster("/certificates"), tls).await.id();
        let logs = json!({ "name": "logs", "type": "http-logger",
            "spec": { "uri": "http://logs.internal:9000" } });
        let logs = owner.post(&owner.in_cluster("/log_collections"), logs).await.id();
        let registry = json!({ "name": "pods", "type": "kubernetes", "kubernetes": {
            "api_server": {}, "service_account_token_file": "/token" } });
        let registry = owner.post(&owner.in_cluster("/service_registries"), registry).await.id();
        let member = owner.invite("alice@example.com", "Organization Viewer").await.id();
        let (policy, webhook) = alert_policy(owner).await;
        let history = delivery(&server, &policy).await;
        let release = json!({
            "name": "trial", "type": "percent", "canary_upstream_version": "default", "percent": 1
        });
        let release = owner.post(&format!("/apps/{app}/canary_releases"), release).await.id();
        let ids: &[(&str, &str)] = &[
            ("id", &owner.org),
            ("member_id", &member),
            ("cluster_id", &owner.cluster),
            ("app_id", &app),
            ("alert_policies_id", &policy),
            ("webhook_id", &webhook),
            ("alert_history_id", &history),
            ("api_id", &api),
            ("consumer_id", &consumer),
            ("certificate_id", &tls),
            ("log_collection_id", &logs),
            ("service_registry_id", &registry),
            ("plugin_management_id", "cors"),
            ("obj_id", &app),
            ("canary_release_id", &release),
        ];
        let revision = owner.revision().await;
        for (operation, scope) in guarded() {
            if scope == Scope::User {
                continue;
            }
            let method = || operation.method().clone();
            let foreign = stranger.call(method(), &path(operation, ids), body(operation)).await;
            let unknown = stranger.call(method(), &path(operation, &[]), body(operation)).await;
            foreign.refused(404, 4);
            assert_eq!(foreign.body, unknown.body, "{}", operation.id);
        }
        assert_eq!(owner.revision().await, revision);
    })
    .await;
}

#[tokio::test]
async fn every_rule_of_the_contract_is_enforced_and_named() {
    on_both(|server| async move {
        let owner = &server.owner;
        let app = owner.application("shop").await;
        let (policy, webhook) = alert_policy(owner).await;
        let ids: &[(&str, &str)] = &[
            ("id", &owner.org),
            ("cluster_id", &owner.cluster),
            ("app_id", &app),
            ("alert_policies_id", &policy),
            ("webhook_id", &webhook),
        ];
        let before = state(owner).await;
        let mut tried = 0;
        for (operation, _) in guarded() {
            let (Some(body), Some(checker)) = (body(operation), operation.body()) else { continue };
            assert_eq!(checker.violations(&body, "body"), [], "{}: {body}", operation.id);
            for mutation in mutations(checker.schema(), &body) {
                let path = path(operation, ids);
                let method = operation.method().clone();
                let answer = owner.call(method, &path, Some(mutation.value)).await;
                let message = answer.refused(400, 2);
                let field = if mutation.field.is_empty() { "body" } else { &mutation.field };
                let named = message.contains(&format!("`{field}"));
                assert!(named, "{}: {field} is not named in: {message}", operation.id);
                tried += 1;
            }
        }
        assert!(tried > 300, "only {tried} rules were tried");
        assert_eq!(state(owner).await, before);
    })
    .await;
}

/// What a refused request must not change.
async fn state(person: &Person) -> Vec<Value> {
    let mut state = Vec::new();
    for path in ["", "/apps", "/consumers", "/certificates", "/apis", "/alert_policies"] {
        state.push(person.get(&person.in_cluster(path)).await.body);
    }
    for path in ["/user/me", "/user/access_tokens"] {
        state.push(person.get(path).await.body);
    }
    state
}
