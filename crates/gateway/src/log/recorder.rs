//! What a logging plugin writes about a request: its format, and which bodies it shows.

use gantry_routing::{expr::Expr, vars::Vars};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    format::{Bodies, Format},
    record,
    tape::Tape,
};
use crate::{
    exchange::{Exchange, Facts},
    plugin::config,
};

/// Makes the entries of one configured place.
pub struct Recorder {
    /// None is the full record.
    format: Option<Format>,
    /// Added to the full record.
    extra: Option<Format>,
    request: Body,
    response: Body,
}

/// Whether a body is shown, and how much of it.
struct Body {
    shown: bool,
    only: Option<Expr>,
    limit: usize,
}

#[derive(Deserialize)]
struct Config {
    log_format: Option<Map<String, Value>>,
    log_format_extra: Option<Map<String, Value>>,
    include_req_body: bool,
    include_req_body_expr: Option<Value>,
    include_resp_body: bool,
    include_resp_body_expr: Option<Value>,
    max_req_body_bytes: usize,
    max_resp_body_bytes: usize,
}

impl Recorder {
    /// Reads the part of a configuration that all logging plugins have, and of their metadata.
    pub fn compile(value: &Value, metadata: Option<&Value>) -> Result<Self, String> {
        let config: Config = config::read(value)?;
        let general = |key: &str| {
            let format = metadata.and_then(|metadata| metadata.get(key)?.as_object());
            format.filter(|format| !format.is_empty()).cloned()
        };
        let compile =
            |format: Option<Map<String, Value>>| format.as_ref().map(Format::compile).transpose();
        let format = compile(config.log_format.or_else(|| general("log_format")))?;
        let shows_body = format.as_ref().is_some_and(Format::shows_request_body);
        Ok(Self {
            extra: compile(config.log_format_extra.or_else(|| general("log_format_extra")))?,
            format,
            request: Body {
                shown: config.include_req_body || shows_body,
                only: condition("include_req_body_expr", config.include_req_body_expr.as_ref())?,
                limit: config.max_req_body_bytes,
            },
            response: Body {
                shown: config.include_resp_body,
                only: condition("include_resp_body_expr", config.include_resp_body_expr.as_ref())?,
                limit: config.max_resp_body_bytes,
            },
        })
    }

    /// Asks for the request's body, if it is shown.
    pub fn request(&self, exchange: &mut Exchange, request: &RequestHeader) {
        if self.request.fits(&exchange.facts(request)) {
            exchange.tapes.request.want(self.request.limit);
        }
    }

    /// Asks for the response's body, if it is shown.
    pub fn response(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &ResponseHeader,
    ) {
        if self.response.fits(&Facts { exchange, request, response: Some(response) }) {
            exchange.tapes.response.want(self.response.limit);
        }
    }

    /// The entry for a finished request.
    #[must_use]
    pub fn entry(&self, facts: &Facts<'_>) -> Map<String, Value> {
        let tapes = &facts.exchange.tapes;
        let request = self.request.text(facts, &tapes.request);
        let response = self.response.text(facts, &tapes.response);
        let bodies = Bodies { request: request.as_deref(), response: response.as_deref() };
        let Some(format) = &self.format else {
            let mut entry = record::record(facts, bodies);
            for (key, value) in self.extra.iter().flat_map(|extra| extra.render(facts, bodies)) {
                entry.entry(key).or_insert(value);
            }
            return entry;
        };
        let mut entry = format.render(facts, bodies);
        if let Some(candidate) = &facts.exchange.route {
            entry.insert("route_id".to_owned(), json!(candidate.route.id));
            if let Some(id) = &candidate.route.service_id {
                entry.insert("service_id".to_owned(), json!(id));
            }
        }
        entry
    }
}

impl Body {
    fn fits(&self, vars: &dyn Vars) -> bool {
        self.shown && self.only.as_ref().is_none_or(|only| only.matches(vars))
    }

    fn text<'a>(&self, facts: &Facts<'_>, tape: &'a Tape) -> Option<std::borrow::Cow<'a, str>> {
        if self.fits(facts) { tape.text(self.limit) } else { None }
    }
}

fn condition(name: &str, value: Option<&Value>) -> Result<Option<Expr>, String> {
    value.map(Expr::compile).transpose().map_err(|error| format!("{name}: {error}"))
}
