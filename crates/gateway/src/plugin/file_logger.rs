//! file-logger: appends a line of JSON for each request, or for those that match.

use std::{path::Path, sync::Arc};

use gantry_routing::expr::Expr;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config, logger::Logger};
use crate::{
    exchange::{Exchange, Facts},
    log::{Pace, Queue},
};

const NAME: &str = "file-logger";

pub(super) const KIND: Kind = Kind { name: NAME, compile: FileLogger::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    path: Option<String>,
    #[serde(default)]
    r#match: Vec<Value>,
}

struct FileLogger {
    logger: Logger,
    /// One of them must fit, if there are any.
    matches: Vec<Expr>,
}

impl FileLogger {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { path, r#match } = config::read(value)?;
        let general = place.metadata.and_then(|metadata| metadata.get("path")?.as_str());
        let path = path.as_deref().or(general);
        let path = path.ok_or("a path must be set here or in the plugin's metadata")?;
        let file = place.shared.logs.file(Path::new(path));
        let queue = Queue::new(NAME, Pace::at_once("file logger"), place.shared, Arc::new(file));
        let matches = r#match.iter().map(Expr::compile).collect::<Result<_, _>>();
        Ok(Arc::new(Self {
            logger: Logger::with_queue(value, place, queue)?,
            matches: matches.map_err(|error| format!("match: {error}"))?,
        }))
    }
}

impl Plugin for FileLogger {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        self.logger.access(exchange, request)
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        self.logger.response_headers(exchange, request, response);
    }

    fn log(&self, facts: &Facts<'_>) {
        if self.matches.is_empty() || self.matches.iter().any(|only| only.matches(facts)) {
            self.logger.log(facts);
        }
    }
}
