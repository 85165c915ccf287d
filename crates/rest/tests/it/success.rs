//! Every operation of the contract succeeds: one story that leaves none out.

use std::collections::{BTreeMap, BTreeSet};

use gantry_rest::contract::{Operation, contract};
use gantry_rest::routes::routes;
use http::Method;
use serde_json::{Value, json};

use crate::alert_history::delivery;
use crate::alert_policy::{basics, triggers};
use crate::alert_webhook::webhook;
use crate::every_operation::path;
use crate::harness::{Answer, PASSWORD, Person, Server, api, application, certificate, on_both};
use crate::invitation::{link, token};

/// Operations that need more than an account, and the tests in which they succeed.
const ELSEWHERE: &[(&str, &str)] = &[
    ("identityCallback", "oidc.rs, with an identity provider"),
    ("verifyEmail", "account.rs, with a server that sends mail"),
    ("resendVerificationEmail", "account.rs, with a server that sends mail"),
    ("reportHeartbeat", "heartbeat.rs, over mutual TLS"),
    ("reportMetrics", "metrics.rs, over mutual TLS"),
];

/// A caller that remembers which operations succeeded and what was made.
struct Story<'s> {
    server: &'s Server,
    person: Person,
    ids: BTreeMap<&'static str, String>,
    succeeded: BTreeSet<String>,
}

impl<'s> Story<'s> {
    fn new(server: &'s Server) -> Self {
        let person = server.owner.clone();
        let ids = [("id", person.org.clone()), ("cluster_id", person.cluster.clone())];
        Self { server, person, ids: ids.into(), succeeded: BTreeSet::new() }
    }

    /// Calls an operation, which must succeed; what it answered.
    async fn call(&mut self, id: &'static str, body: Option<Value>) -> Answer {
        self.query(id, "", body).await
    }

    async fn query(&mut self, id: &'static str, query: &str, body: Option<Value>) -> Answer {
        let operation: &Operation = contract().operation(id).unwrap();
        let ids: Vec<(&str, &str)> = self.ids.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let path = path(operation, &ids) + query;
        eprintln!("{id}: {} {path}", operation.method());
        let answer = self.person.call(operation.method().clone(), &path, body).await;
        answer.ok();
        self.succeeded.insert(id.to_owned());
        answer
    }

    /// Calls operations without bodies.
    async fn all(&mut self, operations: &[&'static str]) {
        for operation in operations {
            self.call(operation, None).await;
        }
    }

    /// Makes something and remembers its id under the name that paths have for it.
    async fn make(&mut self, id: &'static str, name: &'static str, body: Value) {
        let made = self.call(id, Some(body)).await.id();
        self.ids.insert(name, made);
    }
}

#[tokio::test]
async fn every_operation_succeeds() {
    on_both(|server| async move {
        let mut story = Story::new(&server);
        organization(&mut story).await;
        people(&mut story).await;
        cluster(&mut story).await;
        applications(&mut story).await;
        releases_and_admins(&mut story).await;
        consumers_and_certificates(&mut story).await;
        logs_and_registries(&mut story).await;
        alerts(&mut story).await;
        ends(&mut story).await;
        account(&mut story).await;
        let elsewhere = ELSEWHERE.iter().map(|(id, _)| (*id).to_owned());
        story.succeeded.extend(elsewhere);
        let all: BTreeSet<String> = routes().iter().map(|route| route.id.to_owned()).collect();
        let missing: Vec<_> = all.difference(&story.succeeded).collect();
        assert!(missing.is_empty(), "never seen to succeed: {missing:?}");
    })
    .await;
}

async fn organization(story: &mut Story<'_>) {
    story.make("createOrganization", "id", json!({ "name": "Second" })).await;
    story.ids.insert("id", story.person.org.clone());
    let reads = ["getOrganization", "getPlan", "getUpcomingInvoice", "listAvailablePlugins"];
    story.all(&reads).await;
    story.all(&["listClusters", "listRoles", "listRegions", "listVariables"]).await;
    story.ids.insert("plugin_name", "key-auth".into());
    story.call("getPluginSchema", None).await;
    story.ids.insert("plugin_name", "http-logger".into());
    story.call("getPluginMetadataSchema", None).await;
    // This one sends browsers on.
    let portal = story.person.in_org("/customer_portal");
    let request = story.person.request(Method::GET, &portal).bearer_auth(&story.person.token);
    assert_eq!(request.send().await.unwrap().status(), 302);
    story.succeeded.insert("redirectToCustomerPortal".into());
}

async fn people(story: &mut Story<'_>) {
    let owner = story.person.clone();
    let viewer = owner.role("Organization Viewer").await;
    let invite = |email: &str| json!({ "email": email, "role_id": viewer });
    story.make("createMember", "member_id", invite("bob@example.com")).await;
    story.all(&["listMembers", "getMember", "reinviteMember"]).await;
    story.call("updateMember", Some(json!({ "role_bindings": [{ "role_id": viewer }] }))).await;
    story.call("deleteMember", None).await;

    let bob = story.server.newcomer("bob@example.com").await;
    story.make("createMember", "member_id", invite("bob@example.com")).await;
    story.person = bob.clone();
    let query = format!("?email=bob@example.com&org_id={}", owner.org);
    story.query("acceptInvitation", &query, None).await;
    story.person = owner.clone();
    story.call("transferOwnership", None).await;
    let members = bob.get(&owner.in_org("/members")).await;
    let back = members.ok()["list"].as_array().unwrap().iter();
    let back = back.map(|member| &member["id"]).find(|id| **id != story.ids["member_id"]).unwrap();
    let back = back.as_str().unwrap().to_owned();
    bob.post(&owner.in_org(&format!("/members/{back}/transfer_ownership")), Value::Null).await.ok();

    let invited = owner.invite("carol@example.com", "Organization Viewer").await;
    let form = format!(
        "token={}&email=carol%40example.com&org_id={}&password=a+long+password&first_name=Carol\
         &last_name=C",
        token(&link(&invited)),
        owner.org
    );
    let join = story.server.anonymous().request(Method::POST, "/user/accept_invitation");
    let join = join.header("content-type", "application/x-www-form-urlencoded").body(form);
    Answer::read(join).await.ok();
    story.succeeded.insert("joinByInvitation".into());
}

async fn cluster(story: &mut Story<'_>) {
    story.make("createCluster", "cluster_id", json!({ "name": "second" })).await;
    story.all(&["getCluster", "listGatewayInstances", "generateGatewayCertificate"]).await;
    story.ids.insert("revision", story.person.revision().await.to_string());
    story.call("listReceipts", None).await;
    story.call("updateClusterSettings", Some(json!({ "client_settings": {} }))).await;
    story.call("updateClusterPlugins", Some(json!({ "cors": {} }))).await;
    story.ids.insert("config_type", "apisix".into());
    story.call("getStartupConfigTemplate", None).await;
    story.ids.insert("metric_type", "api-qps".into());
    let range = "?start=2030-01-31T12:00:00Z&end=2030-01-31T13:00:00Z&step=60";
    story.query("getClusterMetrics", range, None).await;
    story.call("loadPlugin", Some(json!({ "name": "error-page" }))).await;
    let loaded = story.call("listLoadedPlugins", None).await;
    let loaded = loaded.ok()["list"][0]["plugin_management_id"].as_str().unwrap().to_owned();
    story.ids.insert("plugin_management_id", loaded);
    story.call("updateLoadedPlugin", Some(json!({ "name": "error-page" }))).await;
    story.all(&["getPluginReference", "deleteLoadedPlugin"]).await;
}

async fn applications(story: &mut Story<'_>) {
    let mut shop = application("shop");
    let mut other = shop["upstreams"][0].clone();
    other["version"] = json!("v2");
    shop["upstreams"].as_array_mut().unwrap().push(other);
    story.make("createApplication", "app_id", shop.clone()).await;
    story.all(&["listApplications", "getApplication"]).await;
    story.call("updateApplication", Some(shop)).await;
    story.call("patchApplication", Some(json!({ "description": "sells" }))).await;
    story.make("createAPI", "api_id", api("cart")).await;
    story.all(&["listAPIs", "getAPI", "searchAPIs"]).await;
    story.call("updateAPI", Some(api("cart"))).await;
    story.call("patchAPI", Some(json!({ "labels": ["a-b"] }))).await;
    story.ids.insert("label_source", "api".into());
    story.call("listLabels", None).await;
    let document = json!({
        "openapi": "3.0.3", "info": { "title": "Pets", "version": "1" },
        "servers": [{ "url": "https://api.example.com/v1" }], "paths": { "/pets": { "get": {} } },
    });
    let import = json!({ "openapi": document.to_string() });
    story.call("createApplicationFromOpenAPI", Some(import)).await;
    story.ids.insert("type", "application".into());
    story.ids.insert("obj_id", story.ids["app_id"].clone());
    story.call("debugResource", None).await;
}

async fn releases_and_admins(story: &mut Story<'_>) {
    let release = json!({
        "name": "half", "type": "percent", "canary_upstream_version": "v2", "percent": 50
    });
    story.make("createCanaryRelease", "canary_release_id", release.clone()).await;
    story.all(&["listCanaryReleases", "getCanaryRelease"]).await;
    story.call("updateCanaryRelease", Some(release)).await;
    story.call("deleteCanaryRelease", None).await;
    let member = story.ids["member_id"].clone();
    let admins = json!({ "items": [{ "member_id": member }] });
    story.call("addServiceAdmins", Some(admins)).await;
    story.all(&["listServiceAdmins", "deleteServiceAdmin"]).await;
}

async fn consumers_and_certificates(story: &mut Story<'_>) {
    let alice = json!({ "name": "alice", "credentials": {
        "jwt-auth": { "key": "alice", "secret": "0123456789abcdef0123456789abcdef" } } });
    story.make("createConsumer", "consumer_id", alice.clone()).await;
    story.all(&["listConsumers", "getConsumer"]).await;
    story.call("updateConsumer", Some(alice)).await;
    story.call("patchConsumer", Some(json!({ "description": "a buyer" }))).await;
    story.call("createConsumerJWT", Some(json!({}))).await;
    story.call("deleteConsumer", None).await;

    let shop = certificate("shop.example.com");
    story.make("createCertificate", "certificate_id", shop.clone()).await;
    story.all(&["listCertificates", "getCertificate"]).await;
    story.call("updateCertificate", Some(shop)).await;
    story.call("patchCertificate", Some(json!({ "labels": ["a-b"] }))).await;
    story.call("deleteCertificate", None).await;
}

async fn logs_and_registries(story: &mut Story<'_>) {
    let logs = json!({ "name": "logs", "type": "http-logger",
        "spec": { "uri": "http://logs.internal:9000" } });
    story.make("createLogCollection", "log_collection_id", logs.clone()).await;
    story.all(&["listLogCollections", "getLogCollection"]).await;
    story.call("updateLogCollection", Some(logs)).await;
    story.call("deleteLogCollection", None).await;

    let pods = json!({ "name": "pods", "type": "kubernetes", "kubernetes": {
        "api_server": {}, "service_account_token_file": "/token" } });
    story.make("createServiceRegistry", "service_registry_id", pods.clone()).await;
    story.all(&["listServiceRegistries", "getServiceRegistry"]).await;
    story.call("updateServiceRegistry", Some(pods)).await;
    story.call("deleteServiceRegistry", None).await;
}

async fn alerts(story: &mut Story<'_>) {
    story.make("createAlertPolicy", "alert_policies_id", json!({ "name": "errors" })).await;
    story.call("updateAlertPolicyBasicInfo", Some(basics())).await;
    story.call("setAlertPolicyTrigger", Some(triggers())).await;
    story.call("addAlertPolicyWebhook", Some(webhook("chat"))).await;
    let shown = story.call("getAlertPolicy", None).await;
    let hook = shown.ok()["webhooks"][0]["id"].as_str().unwrap().to_owned();
    story.ids.insert("webhook_id", hook);
    story.call("updateAlertPolicyWebhook", Some(webhook("chat"))).await;
    story.call("updateAlertPolicyDisabled", Some(json!({ "disabled": false }))).await;
    story.all(&["testAlertPolicyWebhook", "backTestAlertPolicy", "listAlertPolicies"]).await;
    story.all(&["deleteAlertPolicyWebhook", "listAlertHistories"]).await;
    // Deliveries are remembered in the owner's first cluster.
    let sent = delivery(story.server, &story.ids["alert_policies_id"]).await;
    let second = story.ids.insert("cluster_id", story.person.cluster.clone()).unwrap();
    story.ids.insert("alert_history_id", sent);
    story.call("getAlertHistory", None).await;
    story.ids.insert("cluster_id", second);
    story.call("deleteAlertPolicy", None).await;
}

/// What removes many things at once.
async fn ends(story: &mut Story<'_>) {
    story.call("deleteAPI", None).await;
    story.all(&["deleteAllAPIs", "deleteApplication"]).await;
    story.query("deleteAllApplications", "?cascade=true", None).await;
    let third = story.person.post("/orgs", json!({ "name": "Third" })).await.id();
    let own = story.ids.insert("id", third).unwrap();
    story.call("createSubscription", Some(json!({ "plan": "1" }))).await;
    story.call("deleteOrganization", None).await;
    story.ids.insert("id", own);
}

async fn account(story: &mut Story<'_>) {
    let dave = "dave@example.com";
    story.person = story.server.newcomer(dave).await;
    story.call("initializeOrganization", Some(json!({ "name": "Dave's" }))).await;
    story.all(&["getCurrentUser", "listAccessTokens", "loginRedirect"]).await;
    let name = json!({ "first_name": "Dave", "last_name": "D" });
    story.call("updateCurrentUser", Some(name)).await;
    story.call("updateProductTour", Some(json!({ "dismiss": true, "checklist": [] }))).await;
    let token = json!({ "notes": "ci", "expire": 0 });
    story.make("createAccessToken", "id", token).await;
    story.all(&["deleteAccessToken", "deleteAllAccessTokens"]).await;
    let password = json!({ "old_password": PASSWORD, "new_password": "another long password" });
    story.call("updatePassword", Some(password)).await;
    let credentials = json!({ "email": dave, "password": "another long password" });
    let login = story.call("login", Some(credentials)).await;
    story.person.token = login.ok()["token"].as_str().unwrap().to_owned();
    story.call("logout", None).await;
    story.person = story.server.newcomer("erin@example.com").await;
    story.call("deleteCurrentUser", None).await;
}
