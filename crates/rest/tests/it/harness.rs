//! A real server on a port of its own, and a client that checks every answer against the contract.

use std::net::SocketAddr;

use gantry_app::{App, Clock, Config, Cx, setup, user};
use gantry_model::{Secret, Timestamp};
use gantry_testkit::{Database, client, contract};
use http::{HeaderMap, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const OWNER: &str = "owner@example.com";
pub const STRANGER: &str = "stranger@example.com";
pub const PASSWORD: &str = "correct horse battery staple";

/// The management API over an empty installation with two users who know nothing of each other.
pub struct Server {
    pub base: String,
    pub app: App,
    /// The system's, unless the story has its own time.
    pub clock: Clock,
    pub owner: Person,
    pub stranger: Person,
    task: JoinHandle<()>,
    folder: TempDir,
    pub database: Database,
}

/// A signed-in user with an organization and its cluster.
#[derive(Clone)]
pub struct Person {
    base: String,
    http: reqwest::Client,
    pub token: String,
    pub org: String,
    pub cluster: String,
}

/// An answer that fits the contract.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

/// Runs a story on SQLite and on PostgreSQL.
pub async fn on_both<F: Future<Output = ()>>(story: impl Fn(Server) -> F) {
    for (name, database) in [("SQLite", Database::Sqlite), ("PostgreSQL", Database::postgres())] {
        eprintln!("on {name}:");
        story(Server::start(database).await).await;
    }
}

/// The same, on a clock that starts at `seconds` and is turned by the story.
pub async fn on_both_at<F: Future<Output = ()>>(seconds: i64, story: impl Fn(Server) -> F) {
    for (name, database) in [("SQLite", Database::Sqlite), ("PostgreSQL", Database::postgres())] {
        eprintln!("on {name}:");
        let clock = Clock::fixed(Timestamp::from_seconds(seconds));
        story(Server::start_with(database, |config| config.clock = clock).await).await;
    }
}

/// A server's port, open before there is a server: settings may have to name it.
pub struct Door {
    listener: TcpListener,
    pub base: String,
}

impl Door {
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, base }
    }
}

impl Server {
    pub async fn start(database: Database) -> Self {
        Self::start_with(database, |_| {}).await
    }

    /// A server with settings of the test's own.
    pub async fn start_with(database: Database, set: impl FnOnce(&mut Config)) -> Self {
        Self::behind(Door::open().await, database, set).await
    }

    /// The same on a port that is open already.
    pub async fn behind(door: Door, database: Database, set: impl FnOnce(&mut Config)) -> Self {
        let Door { listener, base } = door;
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        config.database = database.url().map(str::to_owned);
        config.public_url = base.clone();
        set(&mut config);
        let clock = config.clock.clone();
        let app = App::open(config).await.unwrap();
        let password = || Secret::new(PASSWORD);
        setup::first_start(&app, OWNER, Some(password()), "127.0.0.1:8080").await.unwrap();
        user::create(&Cx::system(&app, "test"), STRANGER, password()).await.unwrap();
        let service = gantry_rest::router(app.clone());
        let service = service.into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move { axum::serve(listener, service).await.unwrap() });
        let owner = Person::sign_in(&base, OWNER).await;
        let stranger = Person::sign_in(&base, STRANGER).await;
        Self { base, app, clock, owner, stranger, task, folder, database }
    }

    /// Somebody with an account who belongs to no organization yet. What is `in_cluster` is the
    /// owner's.
    pub async fn newcomer(&self, email: &str) -> Person {
        user::create(&Cx::system(&self.app, "test"), email, Secret::new(PASSWORD)).await.unwrap();
        let mut person = self.anonymous();
        person.token = person.new_session(email, PASSWORD).await;
        person
    }

    /// A new member of the owner's organization with a role of the organization; the member's id
    /// stands beside.
    pub async fn member(&self, email: &str, role: &str) -> (Person, String) {
        let person = self.newcomer(email).await;
        let invited = self.owner.invite(email, role).await;
        let path = format!("/user/accept_invitation?email={email}&org_id={}", self.owner.org);
        person.get(&path).await.ok();
        (person, invited.id())
    }

    /// Where the server keeps its data.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A request without any credential.
    pub fn anonymous(&self) -> Person {
        Person { token: String::new(), ..self.owner.clone() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Person {
    async fn sign_in(base: &str, email: &str) -> Self {
        let empty = String::new;
        let http = client();
        let mut person =
            Self { base: base.to_owned(), http, token: empty(), org: empty(), cluster: empty() };
        person.token = person.new_session(email, PASSWORD).await;
        person.org = person.post("/orgs", json!({ "name": "Acme" })).await.id();
        let clusters = person.get(&format!("/orgs/{}/clusters", person.org)).await;
        person.cluster = text(&clusters.ok()["list"][0]["id"]);
        person
    }

    /// The same person by another token.
    pub fn with(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Path of something in the person's organization.
    pub fn in_org(&self, rest: &str) -> String {
        format!("/orgs/{}{rest}", self.org)
    }

    /// Id of a role by its name.
    pub async fn role(&self, name: &str) -> String {
        let roles = self.get(&self.in_org("/roles")).await;
        let roles = roles.ok().as_array().unwrap().clone();
        text(&roles.iter().find(|role| role["name"] == name).unwrap()["id"])
    }

    /// Invites somebody to the person's organization.
    pub async fn invite(&self, email: &str, role: &str) -> Answer {
        let body = json!({ "email": email, "role_id": self.role(role).await });
        self.post(&self.in_org("/members"), body).await
    }

    /// Makes `bindings`, pairs of a role's name and a cluster, the roles of a member.
    pub async fn bind(&self, member: &str, bindings: &[(&str, Option<&str>)]) {
        let mut list = Vec::new();
        for (name, cluster) in bindings {
            list.push(json!({ "role_id": self.role(name).await, "cluster_id": cluster }));
        }
        let body = json!({ "role_bindings": list });
        self.put(&self.in_org(&format!("/members/{member}")), body).await.ok();
    }

    /// The token of another session.
    pub async fn new_session(&self, email: &str, password: &str) -> String {
        let login = json!({ "email": email, "password": password });
        text(&self.post("/user/login", login).await.ok()["token"])
    }

    /// Path of something in the person's cluster.
    pub fn in_cluster(&self, rest: &str) -> String {
        format!("/clusters/{}{rest}", self.cluster)
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.request(method.clone(), path);
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = Answer::read(request).await;
        contract::check_answer(
            method.as_str(),
            &format!("/api/v1{path}"),
            answer.status,
            &answer.body,
        );
        answer
    }

    /// A request to be sent with [`Answer::read`], with headers of the test's own.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}/api/v1{path}", self.base))
    }

    /// The newest configuration revision of the person's cluster.
    pub async fn revision(&self) -> i64 {
        self.get(&self.in_cluster("")).await.ok()["config_version"].as_i64().unwrap()
    }

    /// Creates an application and answers its id.
    pub async fn application(&self, name: &str) -> String {
        self.post(&self.in_cluster("/apps"), application(name)).await.id()
    }
}

impl Answer {
    pub async fn read(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            panic!("{status} without JSON: {}", String::from_utf8_lossy(&bytes))
        });
        Self { status, headers, body }
    }

    /// The payload of a success.
    #[track_caller]
    pub fn ok(&self) -> &Value {
        assert_eq!(self.status, 200, "{:#}", self.body);
        assert_eq!(self.body["status"], json!({ "code": 0, "message": "OK" }));
        &self.body["payload"]
    }

    /// The id of what was made.
    #[track_caller]
    pub fn id(&self) -> String {
        text(&self.ok()["id"])
    }

    /// The names on the page.
    #[track_caller]
    pub fn names(&self) -> Vec<String> {
        self.ok()["list"].as_array().unwrap().iter().map(|one| text(&one["name"])).collect()
    }

    /// A refusal with this status and code; its sentence.
    #[track_caller]
    pub fn refused(&self, status: u16, code: i64) -> &str {
        assert_eq!(self.status, status, "{:#}", self.body);
        assert_eq!(self.body["status"]["code"], code, "{:#}", self.body);
        assert!(self.body.get("payload").is_none(), "{:#}", self.body);
        self.body["error"].as_str().unwrap()
    }

    /// Revision in the answer to a write.
    #[track_caller]
    pub fn revision(&self) -> i64 {
        self.headers["gantry-revision"].to_str().unwrap().parse().unwrap()
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}")).to_owned()
}

/// An application that gateways can serve.
pub fn application(name: &str) -> Value {
    json!({
        "name": name, "hosts": [format!("{name}.example.com")], "path_prefix": format!("/{name}"),
        "upstreams": [{ "version": "default", "upstream": {
            "scheme": "http", "targets": [{ "host": "127.0.0.1", "port": 8080, "weight": 1 }]
        } }]
    })
}

/// An API that gateways can serve.
pub fn api(name: &str) -> Value {
    json!({ "name": name, "paths": [{ "path": format!("/{name}"), "path_type": "Prefix" }] })
}

/// A self-signed certificate for `name` and its key, PEM.
pub fn certificate(name: &str) -> Value {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    json!({ "certificate": made.cert.pem(), "private_key": made.signing_key.serialize_pem() })
}
