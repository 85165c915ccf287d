//! key-auth: an API key in a header or a query argument.

use std::{borrow::Cow, sync::Arc};

use http::HeaderName;
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Identity, Kind, Place, Plugin, auth::Gate, config, url};
use crate::exchange::Exchange;

pub(super) const KIND: Kind =
    Kind { name: "key-auth", compile: KeyAuth::compile, identify: Some(identify) };

#[derive(Deserialize)]
struct Config {
    header: String,
    query: String,
    hide_credentials: bool,
    realm: String,
    anonymous_consumer: Option<String>,
}

struct KeyAuth {
    gate: Gate,
    header: HeaderName,
    query: String,
    hide: bool,
}

/// Where a request carries its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Header,
    Query,
    Nowhere,
}

impl KeyAuth {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { header, query, hide_credentials: hide, realm, anonymous_consumer } =
            config::read(value)?;
        let gate = Gate::new("apikey", &realm, anonymous_consumer)?;
        Ok(Arc::new(Self { gate, header: config::header_name(&header)?, query, hide }))
    }

    /// The key as the client sent it, from the header before the query.
    fn presented<'a>(&self, request: &'a RequestHeader) -> (Found, Cow<'a, str>) {
        if let Some(value) = request.headers.get(&self.header) {
            return (Found::Header, String::from_utf8_lossy(value.as_bytes()));
        }
        match request.uri.query().and_then(|query| url::argument(query, &self.query)) {
            Some(key) => (Found::Query, key),
            None => (Found::Nowhere, Cow::Borrowed("")),
        }
    }

    fn hide(&self, exchange: &mut Exchange, request: &mut RequestHeader, found: Found) {
        if found != Found::Query {
            request.remove_header(&self.header);
        }
        if found != Found::Header {
            url::hide_argument(exchange, request, &self.query);
        }
    }
}

impl Plugin for KeyAuth {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let (found, key) = self.presented(request);
        let outcome = match found {
            Found::Nowhere => Err("Missing API key in request"),
            _ => exchange.credential("key-auth", &key).ok_or("Invalid API key in request"),
        };
        drop(key);
        if self.hide && (outcome.is_ok() || self.gate.admits_anybody()) {
            let place = if outcome.is_ok() { found } else { Found::Nowhere };
            self.hide(exchange, request, place);
        }
        self.gate.settle(exchange, request, outcome)
    }
}

#[derive(Deserialize)]
struct Key {
    key: String,
}

fn identify(value: &Value) -> Result<Identity, String> {
    let Key { key } = config::read(value)?;
    Ok(Identity { key, secret: Box::new(()) })
}
