//! http-logger: POSTs batches of records.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Kind, Place, Plugin, config, logger::Logger};
use crate::{
    exchange::Facts,
    log::{Deliver, Failed, document},
};

const NAME: &str = "http-logger";

pub(super) const KIND: Kind = Kind { name: NAME, compile, identify: None };

#[derive(Deserialize)]
struct Config {
    uri: String,
    auth_header: Option<String>,
    timeout: u64,
    ssl_verify: bool,
    concat_method: Concat,
    batch_max_size: usize,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Concat {
    Json,
    NewLine,
}

fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
    let config: Config = config::read(value)?;
    let target = Target {
        client: place.shared.logs.client(config.ssl_verify)?,
        url: config.uri.parse().map_err(|error| format!("uri: {error}"))?,
        authorization: config.auth_header.as_deref().map(config::header_value).transpose()?,
        timeout: Duration::from_secs(config.timeout),
        concat: config.concat_method,
        single: config.batch_max_size == 1,
    };
    Ok(Arc::new(Logger::compile(NAME, value, place, target)?.writing(write)))
}

/// Receivers always find a route.
fn write(_facts: &Facts<'_>, mut entry: Map<String, Value>) -> String {
    entry.entry("route_id").or_insert_with(|| json!("no-matched"));
    Value::Object(entry).to_string()
}

struct Target {
    client: reqwest::Client,
    url: reqwest::Url,
    authorization: Option<HeaderValue>,
    timeout: Duration,
    concat: Concat,
    single: bool,
}

#[async_trait]
impl Deliver for Target {
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed> {
        let (kind, body) = match self.concat {
            Concat::Json => ("application/json", document(entries, self.single)),
            Concat::NewLine => ("text/plain", entries.join("\n")),
        };
        let mut request = self.client.post(self.url.clone()).timeout(self.timeout);
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let response = request.header(header::CONTENT_TYPE, kind).body(body).send().await?;
        response.error_for_status()?;
        Ok(())
    }
}
