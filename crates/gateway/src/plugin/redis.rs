//! A Redis, one that sentinels name, or a cluster, that several gateways keep their limits in. All
//! configurations with the same settings share one connection, which carries many requests at once;
//! the size and idle time of a pool (`redis_keepalive_*`) are accepted and have nothing to set.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use redis::{
    Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo,
    RedisResult, ScriptInvocation, TlsMode,
    aio::{ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    config,
    limit::Inapplicable,
    sentinels::{self, Sentinels},
};

/// Where a limit keeps its state, as its configuration says.
#[derive(Deserialize, Clone, PartialEq, Eq, Hash)]
struct Settings {
    policy: String,
    #[serde(default)]
    redis_host: String,
    #[serde(default)]
    redis_port: u16,
    redis_username: Option<String>,
    redis_password: Option<String>,
    #[serde(default)]
    redis_database: i64,
    #[serde(default)]
    redis_ssl: bool,
    #[serde(default)]
    redis_ssl_verify: bool,
    #[serde(default)]
    redis_cluster_nodes: Vec<String>,
    #[serde(default)]
    redis_cluster_ssl: bool,
    #[serde(default)]
    redis_cluster_ssl_verify: bool,
    /// Milliseconds.
    #[serde(default)]
    redis_timeout: u64,
    #[serde(skip)]
    sentinels: sentinels::Settings,
}

/// The stores in use. Those that no configuration names any more are closed.
#[derive(Default)]
pub struct Stores(Mutex<HashMap<Settings, Weak<Store>>>);

/// A Redis or a cluster; connected when it is first needed, and again whenever that broke.
pub struct Store {
    settings: Settings,
    connection: OnceCell<Connection>,
}

#[derive(Clone)]
enum Connection {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
    Found(Arc<Sentinels>),
}

impl Stores {
    /// The store that a limit's configuration asks for; None for `local`.
    pub fn open(&self, config: &Value) -> Result<Option<Arc<Store>>, String> {
        let mut settings: Settings = config::read(config)?;
        match settings.policy.as_str() {
            "local" => return Ok(None),
            "redis" => drop(settings.client()?),
            "redis-cluster" => drop(settings.cluster()?),
            "redis-sentinel" => {
                settings.sentinels = config::read(config)?;
                drop(Sentinels::new(&settings.sentinels)?);
            }
            other => return Err(format!("`policy` {other} is not available here")),
        }
        let mut stores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = stores.get(&settings).and_then(Weak::upgrade) {
            return Ok(Some(store));
        }
        stores.retain(|_, store| store.strong_count() > 0);
        let store = Arc::new(Store { settings: settings.clone(), connection: OnceCell::new() });
        stores.insert(settings, Arc::downgrade(&store));
        Ok(Some(store))
    }
}

impl Settings {
    fn timeout(&self) -> Duration {
        match self.policy.as_str() {
            "redis-sentinel" => self.sentinels.timeout(),
            _ => Duration::from_millis(self.redis_timeout),
        }
    }

    fn client(&self) -> Result<Client, String> {
        let (host, port) = (self.redis_host.clone(), self.redis_port);
        let address = if self.redis_ssl {
            let insecure = !self.redis_ssl_verify;
            ConnectionAddr::TcpTls { host, port, insecure, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut login = RedisConnectionInfo::default().set_db(self.redis_database);
        if let Some(username) = &self.redis_username {
            login = login.set_username(username);
        }
        if let Some(password) = self.redis_password.as_ref().filter(|word| !word.is_empty()) {
            login = login.set_password(password);
        }
        let info = address.into_connection_info().map(|info| info.set_redis_settings(login));
        info.and_then(Client::open).map_err(|error| format!("redis: {error}"))
    }

    fn cluster(&self) -> Result<ClusterClient, String> {
        let scheme = if self.redis_cluster_ssl { "rediss" } else { "redis" };
        let nodes = self.redis_cluster_nodes.iter().map(|node| format!("{scheme}://{node}"));
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(self.timeout())
            .response_timeout(self.timeout());
        if self.redis_cluster_ssl {
            let verify = self.redis_cluster_ssl_verify;
            builder = builder.tls(if verify { TlsMode::Secure } else { TlsMode::Insecure });
        }
        if let Some(password) = self.redis_password.as_ref().filter(|word| !word.is_empty()) {
            builder = builder.password(password);
        }
        builder.build().map_err(|error| format!("redis-cluster: {error}"))
    }
}

impl Store {
    /// Runs a script within the configured time.
    pub async fn invoke<T: FromRedisValue>(
        &self,
        call: &ScriptInvocation<'_>,
    ) -> Result<T, Inapplicable> {
        self.in_time(async {
            match self.connection().await? {
                Connection::Single(mut connection) => call.invoke_async(&mut connection).await,
                Connection::Cluster(mut connection) => call.invoke_async(&mut connection).await,
                Connection::Found(sentinels) => {
                    let connection = sentinels.connection().await?;
                    let outcome = call.invoke_async(&mut (*connection).clone()).await;
                    sentinels.judge(&connection, &outcome);
                    outcome
                }
            }
        })
        .await
    }

    /// Sends a command within the configured time.
    pub async fn query<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Inapplicable> {
        self.in_time(async {
            match self.connection().await? {
                Connection::Single(mut connection) => command.query_async(&mut connection).await,
                Connection::Cluster(mut connection) => command.query_async(&mut connection).await,
                Connection::Found(sentinels) => {
                    let connection = sentinels.connection().await?;
                    let outcome = command.query_async(&mut (*connection).clone()).await;
                    sentinels.judge(&connection, &outcome);
                    outcome
                }
            }
        })
        .await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Result<T, Inapplicable> {
        let failure = match tokio::time::timeout(self.settings.timeout(), work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        tracing::warn!(reason = failure, "redis did not do as it was asked");
        Err(Inapplicable)
    }

    async fn connection(&self) -> RedisResult<Connection> {
        self.connection.get_or_try_init(|| self.connect()).await.cloned()
    }

    async fn connect(&self) -> RedisResult<Connection> {
        let invalid = |reason| {
            redis::RedisError::from((redis::ErrorKind::InvalidClientConfig, "settings", reason))
        };
        match self.settings.policy.as_str() {
            "redis-cluster" => {
                let client = self.settings.cluster().map_err(invalid)?;
                return client.get_async_connection().await.map(Connection::Cluster);
            }
            "redis-sentinel" => {
                let sentinels = Sentinels::new(&self.settings.sentinels).map_err(invalid)?;
                return Ok(Connection::Found(Arc::new(sentinels)));
            }
            _ => {}
        }
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(self.settings.timeout()))
            .set_response_timeout(Some(self.settings.timeout()))
            .set_number_of_retries(0);
        let client = self.settings.client().map_err(invalid)?;
        ConnectionManager::new_lazy_with_config(client, config).map(Connection::Single)
    }
}
