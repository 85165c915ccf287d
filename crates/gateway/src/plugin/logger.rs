//! What all logging plugins do the same: record the request, and put the record into a queue.

use std::sync::Arc;

use pingora::http::{RequestHeader, ResponseHeader};
use serde_json::{Map, Value};

use super::{Flow, Place, Plugin};
use crate::{
    exchange::{Exchange, Facts},
    log::{Deliver, Queue, Recorder},
};

/// Writes an entry as the plugin's receiver reads it.
pub type Write = fn(&Facts<'_>, Map<String, Value>) -> String;

/// A logging plugin in one place.
pub struct Logger {
    recorder: Recorder,
    queue: Queue,
    write: Write,
}

impl Logger {
    /// Reads what all loggers have in common.
    pub fn compile(
        plugin: &'static str,
        value: &Value,
        place: &Place<'_>,
        target: impl Deliver,
    ) -> Result<Self, String> {
        let queue = Queue::compile(plugin, value, place, Arc::new(target))?;
        Self::with_queue(value, place, queue)
    }

    /// A logger with a queue of its own kind.
    pub fn with_queue(value: &Value, place: &Place<'_>, queue: Queue) -> Result<Self, String> {
        Ok(Self { recorder: Recorder::compile(value, place.metadata)?, queue, write: json })
    }

    /// Writes entries in another way than JSON.
    pub fn writing(self, write: Write) -> Self {
        Self { write, ..self }
    }
}

/// An entry as JSON.
pub fn json(_facts: &Facts<'_>, entry: Map<String, Value>) -> String {
    Value::Object(entry).to_string()
}

impl Plugin for Logger {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        self.recorder.request(exchange, request);
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        self.recorder.response(exchange, request, response);
    }

    fn log(&self, facts: &Facts<'_>) {
        self.queue.push(facts, || (self.write)(facts, self.recorder.entry(facts)));
    }
}
