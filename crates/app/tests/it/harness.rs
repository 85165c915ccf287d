//! A control plane on a database of its own: SQLite in a folder, or a new PostgreSQL database.

use gantry_app::gateway::Identity;
use gantry_app::heartbeat::{Beat, heartbeat};
use gantry_app::setup::{self, FirstStart};
use gantry_app::{App, Clock, Config, Cx, api, application, session};
use gantry_model::config::{ApiSpec, ApplicationSpec, ConsumerSpec};
use gantry_model::instance::HeartbeatResult;
use gantry_model::{Id, Secret, Timestamp};
use gantry_store::Db;
use gantry_testkit::database::Database;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

pub struct Bench {
    pub app: App,
    pub cx: Cx,
    pub config: Config,
    pub first: FirstStart,
    pub dir: tempfile::TempDir,
    // Dropped last: the connections go before the database does.
    _database: Database,
}

impl Bench {
    /// The control plane after its first start, asked by its owner.
    pub async fn new(database: Database) -> Self {
        Self::with(database, |_| {}).await
    }

    /// The same with settings of the test's own.
    pub async fn with(database: Database, set: impl FnOnce(&mut Config)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path());
        config.database = database.url().map(str::to_owned);
        config.clock = Clock::fixed(Timestamp::from_seconds(1_800_000_000));
        set(&mut config);
        let app = App::open(config.clone()).await.unwrap();
        let password = Some(Secret::new("owner-password"));
        let first = setup::first_start(&app, "Owner@Example.com", password, "127.0.0.1:9082");
        let first = first.await.unwrap().unwrap();
        let cx = signed_in(&app, first.access_token.expose()).await;
        Self { app, cx, config, first, dir, _database: database }
    }

    /// Another server on the same database and folder.
    pub async fn another(&self) -> App {
        App::open(self.config.clone()).await.unwrap()
    }

    pub fn cluster(&self) -> Id {
        self.first.cluster
    }

    /// The database itself, to see what is really there.
    pub async fn store(&self) -> Db {
        match &self.config.database {
            Some(url) => Db::open_postgres(url).await.unwrap(),
            None => Db::open_sqlite(&self.dir.path().join("gantry.db")).await.unwrap(),
        }
    }

    /// Runs SQL behind the control plane's back; answers the first column where it is text.
    pub async fn sql(&self, statement: &str) -> Vec<String> {
        match &self.config.database {
            Some(url) => {
                let mut conn = PgConnection::connect(url).await.unwrap();
                let rows = conn.fetch_all(AssertSqlSafe(statement.to_owned())).await.unwrap();
                rows.iter().map(|row| row.get(0)).collect()
            }
            None => {
                let conn = rusqlite::Connection::open(self.dir.path().join("gantry.db")).unwrap();
                let mut statement = conn.prepare(statement).unwrap();
                let rows = statement.query_map([], |row| row.get(0)).unwrap();
                rows.map(Result::unwrap).collect()
            }
        }
    }

    pub async fn application(&self, name: &str) -> Id {
        let created = application::create(&self.cx, self.cluster(), application_spec(name)).await;
        created.unwrap().value.id
    }

    pub async fn api(&self, app: Id, name: &str) -> Id {
        api::create(&self.cx, app, api_spec(name)).await.unwrap().value.id
    }
}

pub async fn signed_in(app: &App, bearer: &str) -> Cx {
    let actor = session::authenticate(app, bearer).await.unwrap();
    Cx::new(app, actor, "test", "request".into())
}

/// A heartbeat from nowhere in particular.
pub async fn beat(app: &App, from: &Identity, run: &str, report: Value) -> HeartbeatResult {
    let beat = Beat { run: run.to_owned(), address: String::new(), report: parse(report) };
    heartbeat(app, from, beat).await.unwrap()
}

pub fn parse<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

pub fn application_spec(name: &str) -> ApplicationSpec {
    parse(json!({
        "name": name,
        "hosts": [format!("{name}.example.com")],
        "path_prefix": "/",
        "upstreams": [{"version": "default", "upstream": {"scheme": "http",
            "targets": [{"host": "127.0.0.1", "port": 8080, "weight": 100}]}}],
    }))
}

pub fn api_spec(name: &str) -> ApiSpec {
    parse(json!({"name": name, "paths": [{"path": format!("/{name}"), "path_type": "Exact"}]}))
}

pub fn consumer_spec(name: &str, key: &str) -> ConsumerSpec {
    parse(json!({"name": name, "credentials": {"key-auth": {"key": key}}}))
}

/// Runs the same test on both engines.
macro_rules! on_both_engines {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(gantry_testkit::database::Database::Sqlite).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                super::$name(gantry_testkit::database::Database::postgres()).await;
            })*
        }
    };
}
pub(crate) use on_both_engines;
