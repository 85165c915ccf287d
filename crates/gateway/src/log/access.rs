//! The gateway's own access log: a line of JSON for each request, whatever its plugins are.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};

use super::{
    format::{Bodies, Format},
    queue::{Pace, Queue},
};
use crate::{exchange::Facts, plugin::Shared};

/// What a line says, by the names of APISIX's variables.
const NAMES: [&str; 21] = [
    "time_iso8601",
    "remote_addr",
    "method",
    "scheme",
    "host",
    "request_uri",
    "server_protocol",
    "status",
    "request_length",
    "bytes_sent",
    "body_bytes_sent",
    "request_time",
    "http_referer",
    "http_user_agent",
    "upstream_addr",
    "upstream_status",
    "upstream_response_time",
    "route_id",
    "service_id",
    "consumer_name",
    "apisix_request_id",
];

/// Where lines about requests go.
pub struct AccessLog {
    format: Format,
    queue: Queue,
}

impl AccessLog {
    /// A log in the file at a path; `-` is standard output.
    #[must_use]
    pub fn new(path: &Path, shared: &Arc<Shared>) -> Self {
        let file = Arc::new(shared.logs.file(path));
        let queue = Queue::new("access-log", Pace::at_once("access log"), shared, file);
        let format = NAMES.map(|name| (name.to_owned(), json!(format!("${name}"))));
        // It has one level, so it compiles.
        let format = Format::compile(&format.into_iter().collect()).unwrap_or_default();
        Self { format, queue }
    }

    /// Writes a line about a finished request.
    pub fn write(&self, facts: &Facts<'_>) {
        self.queue.push(facts, || {
            Value::Object(self.format.render(facts, Bodies::default())).to_string()
        });
    }
}
