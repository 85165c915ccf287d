//! A Redis found by asking its sentinels. Who the master is changes, so a connection that breaks, or
//! leads to somebody who is no master any more, is given up, and the next request asks again.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use serde::Deserialize;
use tokio::sync::Mutex;

/// Whom to ask, and for what. Meaningless, and empty, for other policies.
#[derive(Deserialize, Clone, Default, PartialEq, Eq, Hash)]
#[serde(default)]
pub struct Settings {
    redis_sentinels: Vec<Address>,
    redis_master_name: String,
    redis_role: Role,
    sentinel_username: Option<String>,
    sentinel_password: Option<String>,
    redis_username: Option<String>,
    redis_password: Option<String>,
    redis_database: i64,
    /// Milliseconds.
    redis_connect_timeout: u64,
    /// Milliseconds.
    redis_read_timeout: u64,
}

#[derive(Deserialize, Clone, PartialEq, Eq, Hash)]
struct Address {
    host: String,
    port: u16,
}

/// Which of the servers is used; a replica that refuses to write is of no use for a limit.
#[derive(Deserialize, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
enum Role {
    #[default]
    Master,
    Slave,
}

/// The servers behind some sentinels; connected to one of them when it is first needed.
pub struct Sentinels {
    /// Asks one at a time; others wait for what it finds.
    client: Mutex<SentinelClient>,
    connection: ArcSwapOption<MultiplexedConnection>,
    connect_timeout: Duration,
    options: AsyncConnectionConfig,
}

impl Settings {
    fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_connect_timeout)
    }

    fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.redis_read_timeout)
    }

    /// The longest that finding a server and its answer may take.
    pub fn timeout(&self) -> Duration {
        self.connect_timeout().saturating_add(self.read_timeout())
    }

    fn client(&self) -> RedisResult<SentinelClient> {
        let role = match self.redis_role {
            Role::Master => SentinelServerType::Master,
            Role::Slave => SentinelServerType::Replica,
        };
        let addresses = self.redis_sentinels.iter();
        let addresses = addresses.map(|one| ConnectionAddr::Tcp(one.host.clone(), one.port));
        let mut builder = SentinelClientBuilder::new(addresses, &self.redis_master_name, role)?
            .set_client_to_redis_db(self.redis_database);
        let given = |word: &'_ Option<String>| word.clone().filter(|word| !word.is_empty());
        if let Some(username) = given(&self.redis_username) {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = given(&self.redis_password) {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(username) = given(&self.sentinel_username) {
            builder = builder.set_client_to_sentinel_username(username);
        }
        if let Some(password) = given(&self.sentinel_password) {
            builder = builder.set_client_to_sentinel_password(password);
        }
        builder.build()
    }
}

impl Sentinels {
    /// The error says what is wrong with the settings; nobody is asked yet.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let client = settings.client().map_err(|error| format!("redis-sentinel: {error}"))?;
        Ok(Self {
            client: Mutex::new(client),
            connection: ArcSwapOption::empty(),
            connect_timeout: settings.connect_timeout(),
            options: AsyncConnectionConfig::new()
                .set_connection_timeout(Some(settings.connect_timeout()))
                .set_response_timeout(Some(settings.read_timeout())),
        })
    }

    /// The connection in use, or a new one to whom the sentinels name.
    pub async fn connection(&self) -> RedisResult<Arc<MultiplexedConnection>> {
        if let Some(connection) = self.connection.load_full() {
            return Ok(connection);
        }
        let find = async {
            let mut client = self.client.lock().await;
            // Somebody may have found it while this one waited.
            if let Some(connection) = self.connection.load_full() {
                return Ok(connection);
            }
            let found = Arc::new(client.get_async_connection_with_config(&self.options).await?);
            self.connection.store(Some(Arc::clone(&found)));
            Ok(found)
        };
        tokio::time::timeout(self.connect_timeout, find).await.unwrap_or_else(|_| {
            Err(RedisError::from((ErrorKind::Io, "the sentinels named no server in time")))
        })
    }

    /// Gives a connection up if `outcome` says that it will not do any more.
    pub fn judge<T>(&self, used: &Arc<MultiplexedConnection>, outcome: &RedisResult<T>) {
        if outcome.as_ref().is_err_and(is_lost) {
            self.connection.compare_and_swap(Arc::as_ptr(used), None);
        }
    }
}

/// Whether an error is the server's and not the request's.
fn is_lost(error: &RedisError) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ReadOnly | MasterDown | BusyLoading))
}
