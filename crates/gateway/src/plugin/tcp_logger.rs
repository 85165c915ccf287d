//! tcp-logger: sends batches of records over TCP or TLS, a connection each.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Place, Plugin, config, logger::Logger};
use crate::log::{Deliver, Endpoint, Failed, Security, anyone, document};

const NAME: &str = "tcp-logger";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

#[derive(Deserialize)]
struct Config {
    host: String,
    port: u16,
    tls: bool,
    /// The server name to ask for.
    tls_options: Option<String>,
    /// In milliseconds.
    timeout: u64,
    batch_max_size: usize,
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let Config { host, port, tls, tls_options, timeout, batch_max_size } = config::read(value)?;
    let security =
        if tls { Security::Tls { config: anyone()?, name: tls_options } } else { Security::None };
    let timeout = Duration::from_millis(timeout);
    let endpoint = Endpoint { host, port, security, timeout };
    let target = Target { endpoint, single: batch_max_size == 1 };
    Ok(Arc::new(Logger::compile(NAME, value, place, target)?))
}

struct Target {
    endpoint: Endpoint,
    single: bool,
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        Ok(self.endpoint.send(document(entries, self.single).as_bytes()).await?)
    }
}
