//! datadog: metrics of each request for a DogStatsD agent, a datagram each.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Kind, Place, Plugin, config};
use crate::{
    exchange::Facts,
    log::{Deliver, Endpoint, Failed, Queue, Security, millis},
};

const NAME: &str = "datadog";

pub(super) const KIND: Kind = Kind { name: NAME, compile: Datadog::compile, identify: None };

const TIMEOUT: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
struct Config {
    prefer_name: bool,
    include_path: bool,
    include_method: bool,
    constant_tags: Vec<String>,
}

#[derive(Deserialize)]
#[serde(default)]
struct Metadata {
    host: String,
    port: u16,
    namespace: String,
    constant_tags: Vec<String>,
}

impl Default for Metadata {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".to_owned(),
            port: 8125,
            namespace: "apisix".to_owned(),
            constant_tags: vec!["source:apisix".to_owned()],
        }
    }
}

struct Datadog {
    config: Config,
    namespace: String,
    /// The same for all requests, with commas.
    tags: String,
    queue: Queue,
}

impl Datadog {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let metadata = place.metadata.cloned().unwrap_or_else(|| json!({}));
        let Metadata { host, port, namespace, mut constant_tags } = config::read(&metadata)?;
        constant_tags.extend(config.constant_tags.iter().cloned());
        let endpoint = Endpoint { host, port, security: Security::None, timeout: TIMEOUT };
        let queue = Queue::compile(NAME, value, place, Arc::new(Target(endpoint)))?;
        let namespace = if namespace.is_empty() { namespace } else { namespace + "." };
        Ok(Arc::new(Self { config, namespace, tags: constant_tags.join(","), queue }))
    }

    fn tags(&self, facts: &Facts<'_>) -> String {
        let exchange = facts.exchange;
        let mut tags = self.tags.clone();
        let mut tag = |name: &str, value: &str| {
            if !value.is_empty() {
                let comma = if tags.is_empty() { "" } else { "," };
                // Writing to a String cannot fail.
                let _ = write!(tags, "{comma}{name}:{value}");
            }
        };
        let named = |id: &str, name: Option<&str>| {
            name.filter(|_| self.config.prefer_name).unwrap_or(id).to_owned()
        };
        if let Some(candidate) = &exchange.route {
            let route = &candidate.route;
            tag("route_name", &named(&route.id, route.name.as_deref()));
            if let Some(id) = &route.service_id {
                tag("service_name", &named(id, route.service_name()));
            }
        }
        if let Some(consumer) = &exchange.consumer {
            tag("consumer", &consumer.name);
        }
        if let Some(address) = exchange.attempts.address {
            tag("balancer_ip", &address.ip().to_canonical().to_string());
        }
        let status = exchange.response.status;
        tag("response_status", &status.to_string());
        tag("response_status_class", &format!("{}xx", status / 100));
        tag("scheme", exchange.scheme());
        if let Some(candidate) = exchange.route.as_ref().filter(|_| self.config.include_path) {
            tag("path", candidate.uri());
        }
        if self.config.include_method {
            tag("method", facts.request.method.as_str());
        }
        tags
    }

    /// The metrics of a request, a line each.
    fn lines(&self, facts: &Facts<'_>) -> String {
        let (namespace, tags) = (&self.namespace, self.tags(facts));
        let total = millis(facts.exchange.started.elapsed());
        let upstream = facts.exchange.attempts.response_time.map(millis);
        let mut lines = String::new();
        for (name, value, kind) in [
            ("request.counter", Some(1.0), "c"),
            ("request.latency", Some(total), "h"),
            ("upstream.latency", upstream, "h"),
            ("apisix.latency", Some((total - upstream.unwrap_or(0.0)).max(0.0)), "h"),
            ("ingress.size", Some(facts.request_bytes() as f64), "ms"),
            ("egress.size", Some(facts.response_bytes() as f64), "ms"),
        ] {
            if let Some(value) = value {
                let tags = if tags.is_empty() { String::new() } else { format!("|#{tags}") };
                let _ = writeln!(lines, "{namespace}{name}:{value}|{kind}{tags}");
            }
        }
        lines
    }
}

impl Plugin for Datadog {
    fn log(&self, facts: &Facts<'_>) {
        self.queue.push(facts, || self.lines(facts));
    }
}

struct Target(Endpoint);

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        let socket = self.0.datagrams().await?;
        for (delivered, entry) in entries.iter().enumerate() {
            for line in entry.lines() {
                let sent = socket.send(line.as_bytes()).await;
                sent.map_err(|error| Failed { delivered, reason: error.to_string() })?;
            }
        }
        Ok(())
    }
}
