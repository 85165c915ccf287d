//! Secrets are said once and never again: a canary in every secret field is found in no later answer,
//! no line of the log, no debug dump, and no file or dump of the database.

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::harness::{Person, Server, api, application, certificate, on_both};

/// Part of every secret of this story.
const CANARY: &str = "c4n4ry";

fn secret(name: &str) -> String {
    format!("{CANARY}-{name}-0123456789abcdef0123456789abcdef")
}

/// The log, kept.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'w> MakeWriter<'w> for Log {
    type Writer = Self;

    fn make_writer(&'w self) -> Self {
        self.clone()
    }
}

/// Plugins with secrets of their own.
fn plugins(place: &str) -> Value {
    json!({
        "limit-count": { "count": 9, "time_window": 60, "policy": "redis", "redis_host": "redis.internal",
            "redis_password": secret(&format!("{place}-redis")) },
        "openid-connect": { "client_id": "a", "discovery": "https://id.example.com/d",
            "client_secret": secret(&format!("{place}-oidc")), "bearer_only": true },
        "http-logger": { "uri": "http://logs:9000", "auth_header": secret(&format!("{place}-log")) },
    })
}

/// Writes a secret wherever one can be written; the paths to look at afterwards.
async fn write(owner: &Person) -> Vec<String> {
    let within = |rest: &str| owner.in_cluster(rest);
    let mut shop = application("shop");
    shop["plugins"] = plugins("app");
    let app = owner.post(&within("/apps"), shop).await.id();
    let mut cart = api("cart");
    cart["plugins"] = plugins("api");
    let cart = owner.post(&format!("/apps/{app}/apis"), cart).await.id();
    let consumer = json!({ "name": "alice", "credentials": {
        "key-auth": { "key": secret("key") },
        "basic-auth": { "username": "alice", "password": secret("basic") },
        "hmac-auth": { "access_key": "a", "secret_key": secret("hmac") },
        "jwt-auth": { "key": "alice", "secret": secret("jwt") },
    }, "plugins": { "limit-count": plugins("consumer")["limit-count"] } });
    let consumer = owner.post(&within("/consumers"), consumer).await.id();
    let tls = owner.post(&within("/certificates"), certificate("a.example.com")).await.id();
    let cluster = json!({
        "authentication": { "type": "openid-connect", "client_id": "a", "bearer_only": true,
            "discovery": "https://id.example.com/d", "client_secret": secret("cluster-oidc") },
        "http-logger": plugins("cluster")["http-logger"],
    });
    owner.patch(&within("/plugins"), cluster).await.ok();
    let logs = json!({ "name": "logs", "type": "http-logger",
        "spec": { "uri": "http://logs:9000", "auth_header": secret("collection") } });
    let logs = owner.post(&within("/log_collections"), logs).await.id();
    let registry = json!({ "name": "pods", "type": "kubernetes", "enabled": true, "kubernetes": {
        "api_server": { "scheme": "https", "host": "10.0.0.1", "port": 6443 },
        "service_account_token_value": secret("registry") } });
    let registry = owner.post(&within("/service_registries"), registry).await.id();
    let policy = owner.post(&within("/alert_policies"), json!({ "name": "outage" })).await.id();
    let hook = json!({ "name": "pager", "url": "https://pager.example.com/hook", "method": "POST",
        "skip_tls_verify": false, "template": "{{ .Title }}",
        "headers": [{ "name": "Authorization", "value": secret("hook") }] });
    owner.post(&within(&format!("/alert_policies/{policy}/webhooks")), hook).await.ok();
    let dump = |kind: &str, id: &str| format!("/debug/config{}", within(&format!("/{kind}/{id}")));
    vec![
        within(""),
        format!("/orgs/{}/clusters", owner.org),
        within("/apps"),
        within(&format!("/apps/{app}")),
        format!("/apps/{app}/apis"),
        format!("/apps/{app}/apis/{cart}"),
        within("/apis"),
        within("/consumers"),
        within(&format!("/consumers/{consumer}")),
        within("/certificates"),
        within(&format!("/certificates/{tls}")),
        within("/log_collections"),
        within(&format!("/log_collections/{logs}")),
        within("/service_registries"),
        within(&format!("/service_registries/{registry}")),
        within("/alert_policies"),
        within(&format!("/alert_policies/{policy}")),
        within("/plugin_management"),
        dump("application", &app),
        dump("api", &cart),
        dump("consumer", &consumer),
        dump("certificate", &tls),
        dump("cluster_settings", &owner.cluster),
        "/user/me".into(),
        "/user/access_tokens".into(),
    ]
}

#[tokio::test]
async fn what_is_secret_is_never_said_again() {
    // For all tests of this process: a log of one thread misses what other threads were first to say.
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    on_both(|server| {
        let log = log.clone();
        async move { stay_secret(&server, &log).await }
    })
    .await;
}

async fn stay_secret(server: &Server, log: &Log) {
    for path in write(&server.owner).await {
        stays_secret(&server.owner, &path).await;
    }
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("/api/v1/clusters/{cluster_id}/consumers"), "the log was kept: {log}");
    assert!(!tells(log.as_bytes()));
    for file in std::fs::read_dir(server.folder()).unwrap() {
        let file = file.unwrap().path();
        let told = file.is_file() && tells(&std::fs::read(&file).unwrap());
        assert!(!told, "{}", file.display());
    }
    if let Some(dump) = server.database.dump() {
        assert!(dump.contains("COPY public.resource_specs"), "everything was dumped");
        assert!(!tells(dump.as_bytes()));
    }
}

/// What is read tells no secret, and may be written back: a dry run of that tells none either.
async fn stays_secret(owner: &Person, path: &str) {
    let answer = owner.get(path).await;
    let payload = answer.ok().clone();
    let text = answer.body.to_string();
    assert!(!tells(text.as_bytes()), "{path}: {text}");
    if path.contains("/apps/") && !path.contains("debug") && payload["id"].is_string() {
        let put = owner.put(&format!("{path}?dry_run=true"), payload).await;
        put.ok();
        assert!(!tells(put.body.to_string().as_bytes()), "{path}: {:#}", put.body);
        assert_eq!(put.body["preview"]["changes"], json!([]), "{path}: a mask keeps its secret");
    }
}

fn tells(bytes: &[u8]) -> bool {
    let found = |part: &str| bytes.windows(part.len()).any(|window| window == part.as_bytes());
    found(CANARY) || found("PRIVATE KEY")
}
