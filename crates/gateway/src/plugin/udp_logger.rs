//! udp-logger: sends batches of records, a datagram each.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::Value;

use super::{Kind, Place, Plugin, config, logger::Logger};
use crate::log::{Deliver, Endpoint, Failed, Security, document};

const NAME: &str = "udp-logger";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

#[derive(Deserialize)]
struct Config {
    host: String,
    port: u16,
    /// In seconds.
    timeout: u64,
    batch_max_size: usize,
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let Config { host, port, timeout, batch_max_size } = config::read(value)?;
    let timeout = Duration::from_secs(timeout);
    let endpoint = Endpoint { host, port, security: Security::None, timeout };
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
        let socket = self.endpoint.datagrams().await?;
        socket.send(document(entries, self.single).as_bytes()).await?;
        Ok(())
    }
}
