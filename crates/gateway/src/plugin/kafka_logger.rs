//! kafka-logger: writes batches of records to a topic, a message each. Messages go out as soon as a
//! batch is due and are waited for, so that failures are seen by the queue.
//!
//! So there is no buffer of a producer, and nothing that its options would set: `producer_type`,
//! `producer_batch_num`, `producer_batch_size`, `producer_max_buffering` and `producer_time_linger`.
//! `cluster_name` tells producers with equal brokers apart, but here each configuration has its own.
//! `api_version` would choose among versions of the protocol; the one spoken is known to all brokers
//! since 0.11.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Place, Plugin, config, logger::Logger};
use crate::{
    exchange::Facts,
    kafka::{Broker, Login, Producer, Settings},
    log::{Deliver, Endpoint, Failed, Queue, Security, anyone, document, known},
    request,
};

const NAME: &str = "kafka-logger";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    brokers: Vec<BrokerConfig>,
    /// The older form of `brokers`: ports by host.
    #[serde(default)]
    broker_list: BTreeMap<String, u16>,
    kafka_topic: String,
    key: Option<String>,
    required_acks: i16,
    /// In seconds.
    timeout: u64,
    meta_refresh_interval: u64,
    meta_format: MetaFormat,
    tls: Option<Tls>,
    batch_max_size: usize,
}

#[derive(Deserialize)]
struct BrokerConfig {
    host: String,
    port: u16,
    sasl_config: Option<Login>,
}

#[derive(Deserialize)]
struct Tls {
    verify: bool,
}

#[derive(Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum MetaFormat {
    Default,
    /// The request as it came, in place of a record.
    Origin,
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let config: Config = config::read(value)?;
    let security = match &config.tls {
        None => Security::None,
        Some(Tls { verify }) => {
            Security::Tls { config: if *verify { known()? } else { anyone()? }, name: None }
        }
    };
    let timeout = Duration::from_secs(config.timeout);
    let older = config.broker_list.into_iter().map(|(host, port)| (host, port, None));
    let brokers = config.brokers.into_iter().map(|broker| {
        let BrokerConfig { host, port, sasl_config } = broker;
        (host, port, sasl_config)
    });
    let broker = |(host, port, login)| {
        let endpoint = Endpoint { host, port, security: security.clone(), timeout };
        Broker { endpoint, login }
    };
    let producer = Producer::new(Settings {
        brokers: brokers.chain(older).map(broker).collect(),
        topic: config.kafka_topic,
        key: config.key,
        acks: config.required_acks,
        timeout,
        refresh: Duration::from_secs(config.meta_refresh_interval),
    });
    let single = config.batch_max_size == 1;
    let queue = Queue::compile(NAME, value, place, Arc::new(Target { producer, single }))?;
    if config.meta_format == MetaFormat::Default {
        return Ok(Arc::new(Logger::with_queue(value, place, queue)?));
    }
    // Formats say nothing about a request as it came, except whether its body belongs to it.
    let mut value = value.clone();
    if let Some(value) = value.as_object_mut() {
        value.remove("log_format");
    }
    let logger = Logger::with_queue(&value, &Place { metadata: None, ..*place }, queue)?;
    Ok(Arc::new(logger.writing(if single { origin } else { quoted })))
}

/// The request's head as it came, and its body if it is shown.
fn origin(facts: &Facts<'_>, entry: Map<String, Value>) -> String {
    let request = facts.request;
    let (method, target) = (request.method.as_str(), request::target(request));
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    for (name, value) in &request.headers {
        text.push_str(&format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes())));
    }
    text.push_str("\r\n");
    let body = entry.into_iter().find(|(key, _)| key == "request");
    let body = body.and_then(|(_, request)| Some(request.get("body")?.as_str()?.to_owned()));
    text + &body.unwrap_or_default()
}

/// The same as a text inside JSON.
fn quoted(facts: &Facts<'_>, entry: Map<String, Value>) -> String {
    Value::String(origin(facts, entry)).to_string()
}

struct Target {
    producer: Producer,
    single: bool,
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        Ok(self.producer.write(document(entries, self.single).as_bytes()).await?)
    }
}
