//! echo: puts texts around the response body or in its place, and sets headers, to what is written in the
//! configuration. A test aid.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Kind, Place, Plugin, body, config, identity};
use crate::exchange::{Exchange, Facts};

pub(super) const KIND: Kind = Kind { name: "echo", compile: Echo::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    before_body: Option<String>,
    body: Option<String>,
    after_body: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
}

struct Echo {
    before: Bytes,
    /// None leaves the body between the texts.
    body: Option<Bytes>,
    after: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The bodies to be changed, by configuration, and whether they have begun; left in
/// [`Exchange::notes`] by the header phase.
#[derive(Clone, Default)]
struct Bodies(Vec<(usize, bool)>);

impl Echo {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        Ok(Arc::new(Self {
            before: config.before_body.unwrap_or_default().into(),
            body: config.body.map(Bytes::from),
            after: config.after_body.unwrap_or_default().into(),
            headers: config.headers.iter().map(header).collect::<Result<_, _>>()?,
        }))
    }
}

fn header((name, value): (&String, &Value)) -> Result<(HeaderName, HeaderValue), String> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Ok((config::header_name(name)?, config::header_value(&text)?))
}

impl Plugin for Echo {
    fn response_headers(
        &self,
        exchange: &mut Exchange,
        request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        if !body::is_absent(response) {
            body::will_change(exchange, request, response);
            exchange.notes.get_or_insert_default::<Bodies>().0.push((identity(self), false));
        }
        for (name, value) in &self.headers {
            // Fails only if the header map is full.
            let _ = response.insert_header(name.clone(), value.clone());
        }
    }

    fn fills(&self, _facts: &Facts<'_>) -> bool {
        let own = self.body.as_ref().is_some_and(|body| !body.is_empty());
        own || !self.before.is_empty() || !self.after.is_empty()
    }

    fn reads_bodies(&self) -> bool {
        true
    }

    fn response_body(&self, exchange: &mut Exchange, piece: &mut Option<Bytes>, end: bool) {
        let Some(Bodies(bodies)) = exchange.notes.get_mut() else { return };
        let mine = |(owner, _): &&mut (usize, bool)| *owner == identity(self);
        let Some((_, begun)) = bodies.iter_mut().find(mine) else { return };
        let begins = !std::mem::replace(begun, true);
        let own = match &self.body {
            Some(body) if begins => Some(body),
            Some(_) => None,
            None => piece.as_ref(),
        };
        let mut whole = BytesMut::new();
        if begins {
            whole.extend_from_slice(&self.before);
        }
        whole.extend_from_slice(own.map_or(&[], |own| own));
        if end {
            whole.extend_from_slice(&self.after);
        }
        *piece = Some(whole.freeze());
    }
}
