//! Sessions that a Redis keeps, sealed; browsers bring no more than their number.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;

use crate::plugin::{
    limit::Inapplicable,
    redis::{Store, Stores},
};

/// Where sessions are kept; times are milliseconds.
#[derive(Deserialize)]
pub struct Settings {
    host: String,
    port: u16,
    username: Option<String>,
    password: Option<String>,
    database: u64,
    prefix: String,
    ssl: bool,
    ssl_verify: bool,
    connect_timeout: u64,
    send_timeout: u64,
    read_timeout: u64,
}

pub struct Shelf {
    store: Arc<Store>,
    prefix: String,
}

impl Shelf {
    pub fn new(settings: &Settings, stores: &Stores) -> Result<Self, String> {
        let times = [settings.connect_timeout, settings.send_timeout, settings.read_timeout];
        let config = json!({
            "policy": "redis",
            "redis_host": settings.host,
            "redis_port": settings.port,
            "redis_username": settings.username,
            "redis_password": settings.password,
            "redis_database": settings.database,
            "redis_ssl": settings.ssl,
            "redis_ssl_verify": settings.ssl_verify,
            "redis_timeout": times.into_iter().fold(0, u64::saturating_add),
        });
        let store = stores.open(&config)?.ok_or("sessions need a store")?;
        Ok(Self { store, prefix: settings.prefix.clone() })
    }

    /// Keeps what is sealed under a number; for ever if the seconds are zero.
    pub async fn put(&self, id: &str, sealed: &[u8], seconds: i64) -> Result<(), String> {
        let mut command = redis::cmd("SET");
        command.arg(self.key(id)).arg(sealed);
        if seconds > 0 {
            command.arg("EX").arg(seconds);
        }
        self.store.query::<()>(&command).await.map_err(away)
    }

    pub async fn get(&self, id: &str) -> Result<Option<Vec<u8>>, String> {
        self.store.query(redis::cmd("GET").arg(self.key(id))).await.map_err(away)
    }

    pub async fn remove(&self, id: &str) -> Result<(), String> {
        self.store.query::<()>(redis::cmd("DEL").arg(self.key(id))).await.map_err(away)
    }

    fn key(&self, id: &str) -> String {
        format!("{}:{id}", self.prefix)
    }
}

fn away(_: Inapplicable) -> String {
    "the store of sessions does not do as it was asked".to_owned()
}
