//! response-rewrite: another status, other headers or another body, whoever made the response.
//!
//! To be able to read bodies, a configuration with `filters` asks the upstream for one that is
//! not compressed. A body that comes compressed all the same is passed on as it is.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use gantry_routing::expr::Expr;
use http::{
    StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING},
};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Flow, Kind, Place, Plugin, body, config, headers::Changes, identity, substitution::Substitution,
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
struct Pending(Vec<(usize, BytesMut)>);

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

    /// A response without a body stays so. A body that is not plain cannot be filtered.
    fn takes_body(&self, response: &ResponseHeader) -> bool {
        let bodiless = body::is_absent(response);
        match self.body {
            Body::Kept => false,
            Body::Replaced(_) => !bodiless,
            Body::Filtered { .. } => {
                let encoding = response.headers.get(CONTENT_ENCODING);
                !bodiless && encoding.is_none_or(|encoding| encoding == "identity")
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
    fn rewrite(&self, _exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if matches!(self.body, Body::Filtered { .. }) {
            request.remove_header(&ACCEPT_ENCODING);
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
        if self.takes_body(response) {
            self.frame(exchange, request, response);
            let pending = exchange.notes.get_or_insert_default::<Pending>();
            pending.0.push((identity(self), BytesMut::new()));
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
        let Some(Pending(pending)) = exchange.notes.get_mut() else { return };
        let mine = |(owner, _): &&mut (usize, BytesMut)| *owner == identity(self);
        let Some((_, buffer)) = pending.iter_mut().find(mine) else { return };
        let chunk = body.take();
        match &self.body {
            Body::Kept => *body = chunk,
            Body::Replaced(text) => *body = end.then(|| text.clone()),
            Body::Filtered { filters, size_max } => {
                let chunk = chunk.unwrap_or_default();
                let room = size_max.saturating_sub(buffer.len()).min(chunk.len());
                buffer.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
                *body = end.then(|| filtered(std::mem::take(buffer).freeze(), filters));
            }
        }
    }
}

/// A body that is not text, or a search that gives up, leaves everything as it was.
fn filtered(body: Bytes, filters: &[(Scope, Substitution)]) -> Bytes {
    let Ok(text) = std::str::from_utf8(&body) else { return body };
    let mut text = text.to_owned();
    for (scope, filter) in filters {
        let changed = match scope {
            Scope::Once => filter.first(&text),
            Scope::Global => filter.all(&text).map(Some),
        };
        match changed {
            Ok(Some(changed)) => text = changed,
            Ok(None) => {}
            Err(_) => return body,
        }
    }
    text.into()
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
    fn bodies_that_are_no_text_stay() {
        let body = Bytes::from_static(&[0xff, b'a']);
        assert_eq!(filtered(body.clone(), &[filter(Scope::Once, "a", "b")]), body);
    }
}
