//! syslog: sends records as messages of RFC 5424, each with a newline at its end. A batch has a connection
//! of its own, so `pool_size` has nothing to set.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Place, Plugin, config, logger::Logger};
use crate::{
    exchange::Facts,
    log::{Deliver, Endpoint, Failed, Queue, Security, anyone},
    machine,
};

const NAME: &str = "syslog";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

/// Facility 5 (messages of the logger itself), severity 6 (informational), as APISIX.
const PRIORITY: u8 = 5 * 8 + 6;

#[derive(Deserialize)]
struct Config {
    host: String,
    port: u16,
    sock_type: SocketType,
    tls: bool,
    /// In milliseconds.
    timeout: u64,
    /// Bytes that are sent without waiting for more.
    flush_limit: usize,
    /// Bytes in one batch, beyond which messages are dropped.
    drop_limit: usize,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum SocketType {
    Tcp,
    Udp,
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let config: Config = config::read(value)?;
    if config.tls && config.sock_type == SocketType::Udp {
        return Err("TLS needs sock_type tcp".to_owned());
    }
    let security =
        if config.tls { Security::Tls { config: anyone()?, name: None } } else { Security::None };
    let Config { host, port, sock_type, flush_limit, drop_limit, .. } = config;
    let timeout = Duration::from_millis(config.timeout);
    let target =
        Target { endpoint: Endpoint { host, port, security, timeout }, sock_type, drop_limit };
    let queue = Queue::compile(NAME, value, place, Arc::new(target))?.with_bytes(flush_limit);
    Ok(Arc::new(Logger::with_queue(value, place, queue)?.writing(write)))
}

fn write(_facts: &Facts<'_>, entry: Map<String, Value>) -> String {
    let (time, host, process) = (Timestamp::now(), machine::hostname(), std::process::id());
    let entry = Value::Object(entry);
    format!("<{PRIORITY}>1 {time:.3} {host} apisix {process} - - {entry}\n")
}

struct Target {
    endpoint: Endpoint,
    sock_type: SocketType,
    drop_limit: usize,
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        if self.sock_type == SocketType::Tcp {
            let text = entries.concat();
            if text.len() > self.drop_limit {
                return Err(format!("{} bytes are more than drop_limit", text.len()).into());
            }
            return Ok(self.endpoint.send(text.as_bytes()).await?);
        }
        let socket = self.endpoint.datagrams().await?;
        for (delivered, entry) in entries.iter().enumerate() {
            let sent = socket.send(entry.as_bytes()).await;
            sent.map_err(|error| Failed { delivered, reason: error.to_string() })?;
        }
        Ok(())
    }
}
