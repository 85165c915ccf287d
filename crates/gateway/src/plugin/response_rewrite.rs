//! response-rewrite: another status, other headers or another body, whoever made the response.
//!
//! `filters` read a body that is compressed with gzip or brotli, and it goes on plain; gzip and brotli
//! of the same chain may compress it again. The upstream is offered no other coding, so that there is
//! none that cannot be read. What comes in one all the same is passed on as it is, and logged.

use std::sync::{Arc, Mutex, PoisonError};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gantry_routing::expr::Expr;
use http::{
    StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, body, config, decoding::Decoder, headers::Changes, identity,
    substitution::Substitution,
};
use crate::exchange::{Exchange, Facts};

pub(super) const KIND: Kind =
    Kind { name: "response-rewrite", compile: ResponseRewrite::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    status_code: Option<u16>,
    body: Option<String>,
    body_base64: bool,
    headers: Option<Value>,
    vars: Option<Value>,
    filters: Option<Vec<Filter>>,
    max_resp_body_size: usize,
}

#[derive(Deserialize)]
struct Filter {
    regex: String,
    replace: String,
    scope: Scope,
    options: String,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Scope {
    Once,
    Global,
}

struct ResponseRewrite {
    condition: Option<Expr>,
    status: Option<StatusCode>,
    headers: Changes,
    body: Body,
}

/// What happens to the body.
enum Body {
    Kept,
    Replaced(Bytes),
    Filtered { filters: Vec<(Scope, Substitution)>, size_max: usize },
}

/// The bodies being rewritten, left in [`Exchange::notes`] by the header phase: one per
/// configuration, because a global rule and a route may both rewrite.
#[derive(Clone, Default)]
struct Pending(Vec<(usize, Rewriting)>);

#[derive(Clone)]
enum Rewriting {
    Replaced,
    Filtered(Arc<Mutex<Decoder>>),
}

/// Left in [`Exchange::notes`] if the response's body shall be read here.
#[derive(Clone)]
pub struct Codings;

impl Codings {
    /// Offers the upstream only codings that can be taken off again. The client's own words stay, for
    /// whoever compresses the response.
    pub fn head(exchange: &Exchange, request: &mut RequestHeader) {
        if exchange.notes.get::<Self>().is_none() {
            return;
        }
        let lines = request.headers.get_all(ACCEPT_ENCODING).iter();
        let items = lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let readable = items.map(str::trim).filter(|item| {
            let name = item.split(';').next().unwrap_or("").trim();
            Decoder::CODINGS.iter().any(|coding| coding.eq_ignore_ascii_case(name))
        });
        let readable = readable.collect::<Vec<_>>().join(", ");
        request.remove_header(&ACCEPT_ENCODING);
        if !readable.is_empty() {
            // Fails only if the header map is full; then nothing is offered.
            let _ = request.insert_header(ACCEPT_ENCODING, readable);
        }
    }
}

impl ResponseRewrite {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let filter = |filter: &Filter| {
            let compiled = Substitution::new(&filter.regex, &filter.replace, &filter.options)?;
            Ok::<_, String>((filter.scope, compiled))
        };
        let body = match (&config.body, &config.filters) {
            (Some(text), _) if config.body_base64 => Body::Replaced(
                STANDARD.decode(text).map_err(|_| "`body` is not base64".to_owned())?.into(),
            ),
            (Some(text), _) => Body::Replaced(text.clone().into()),
            (None, Some(filters)) => Body::Filtered {
                filters: filters.iter().map(filter).collect::<Result<_, _>>()?,
                size_max: config.max_resp_body_size,
            },
            (None, None) => Body::Kept,
        };
        Ok(Arc::new(Self {
            condition: config.vars.as_ref().map(Expr::compile).transpose()?,
            status: config.status_code.map(config::status).transpose()?,
            headers: Changes::parse(config.headers.as_ref())?,
            body,
        }))
    }

    /// What is to be done with the body of this response. A response without a body stays so. A body
    /// in a coding nobody knows here cannot be filtered.
    fn rewriting(&self, response: &ResponseHeader) -> Option<Rewriting> {
        if body::is_absent(response) {
            return None;
        }
        match self.body {
            Body::Kept => None,
            Body::Replaced(_) => Some(Rewriting::Replaced),
            Body::Filtered { size_max, .. } => {
                let decoder = Decoder::of(&response.headers, size_max);
                if decoder.is_none() {
                    tracing::warn!("a response is not filtered, its coding cannot be read");
                }
                Some(Rewriting::Filtered(Arc::new(Mutex::new(decoder?))))
            }
        }
    }

    /// Says how long the new body is, or that nobody knows.
    fn frame(&self, exchange: &Exchange, request: &RequestHeader, response: &mut ResponseHeader) {
        body::will_change(exchange, request, response);
        if let Body::Replaced(text) = &self.body
            && !exchange.response.is_whole
        {
            response.remove_header(&TRANSFER_ENCODING);
            // Fails only if the header map is full, and names were just taken out of it.
            let _ = response.insert_header(CONTENT_LENGTH, text.len());
        }
    }
}

impl Plugin for ResponseRewrite {
    fn rewrite(&self, exchange: &mut Exchange, _request: &mut RequestHeader) -> Flow {
        if matches!(self.body, Body::Filtered { .. }) {
            exchange.notes.insert(Codings);
        }
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        let facts = Facts { response: Some(response), ..exchange.facts(request) };
        if self.condition.as_ref().is_some_and(|condition| !condition.matches(&facts)) {
            return;
        }
        let changes = self.headers.render(&facts);
        if let Some(status) = self.status {
            // A `StatusCode` is always taken.
            let _ = response.set_status(status);
        }
        if let Some(rewriting) = self.rewriting(response) {
            self.frame(exchange, request, response);
            let pending = exchange.notes.get_or_insert_default::<Pending>();
            pending.0.push((identity(self), rewriting));
        }
        changes.apply(response);
    }

    fn fills(&self, facts: &Facts<'_>) -> bool {
        matches!(&self.body, Body::Replaced(text) if !text.is_empty())
            && self.condition.as_ref().is_none_or(|condition| condition.matches(facts))
    }

    fn reads_bodies(&self) -> bool {
        !matches!(self.body, Body::Kept)
    }

    fn response_body(&self, exchange: &mut Exchange, body: &mut Option<Bytes>, end: bool) {
        let Some(Pending(pending)) = exchange.notes.get() else { return };
        let mine = |(owner, _): &&(usize, Rewriting)| *owner == identity(self);
        match (&self.body, pending.iter().find(mine)) {
            (Body::Replaced(text), Some(_)) => *body = end.then(|| text.clone()),
            (Body::Filtered { filters, .. }, Some((_, Rewriting::Filtered(decoder)))) => {
                let mut decoder = decoder.lock().unwrap_or_else(PoisonError::into_inner);
                decoder.push(&body.take().unwrap_or_default());
                *body = end.then(|| filtered(decoder.finish(), filters));
            }
            _ => {}
        }
    }
}

/// A search that gives up leaves everything as it was. What is not UTF-8 is read byte by byte, as
/// ISO 8859-1 is.
fn filtered(body: Bytes, filters: &[(Scope, Substitution)]) -> Bytes {
    let changed = match std::str::from_utf8(&body) {
        Ok(text) => substituted(text.to_owned(), filters).map(Bytes::from),
        Err(_) => {
            let text = body.iter().copied().map(char::from).collect();
            substituted(text, filters).map(|text| bytes_of(&text).into())
        }
    };
    changed.unwrap_or(body)
}

/// The bytes of a text that was read byte by byte; what a replacement adds beyond that is UTF-8.
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for char in text.chars() {
        match u8::try_from(char) {
            Ok(byte) => bytes.push(byte),
            Err(_) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// None if a search gave up.
fn substituted(mut text: String, filters: &[(Scope, Substitution)]) -> Option<String> {
    for (scope, filter) in filters {
        let changed = match scope {
            Scope::Once => filter.first(&text),
            Scope::Global => filter.all(&text).map(Some),
        };
        text = changed.ok()?.unwrap_or(text);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(scope: Scope, regex: &str, replace: &str) -> (Scope, Substitution) {
        (scope, Substitution::new(regex, replace, "jo").unwrap())
    }

    #[test]
    fn filters_run_one_after_the_other() {
        let filters = [filter(Scope::Global, "a", "b"), filter(Scope::Once, "b", "c")];
        assert_eq!(filtered(Bytes::from("aab"), &filters), "cbb");
    }

    #[test]
    fn bodies_that_are_no_text_are_filtered_byte_by_byte() {
        let body = Bytes::from_static(b"\xe9t\xe9 secret");
        let changed = filtered(body, &[filter(Scope::Once, "secret", "\u{20ac}")]);
        assert_eq!(changed, &b"\xe9t\xe9 \xe2\x82\xac"[..]);
    }
}
