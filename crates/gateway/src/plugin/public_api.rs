//! public-api: shows on a route what the gateway otherwise tells on its status listener only.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, Shared, config};
use crate::{answer::Answer, exchange::Exchange, scrape::scrape};

pub(super) const KIND: Kind =
    Kind { name: "public-api", compile: PublicApi::compile, identify: None };

/// The one API there is.
const METRICS: &str = "/apisix/prometheus/metrics";

#[derive(Deserialize)]
struct Config {
    uri: Option<String>,
}

struct PublicApi {
    /// In place of the request's path.
    uri: Option<String>,
    shared: Arc<Shared>,
}

impl PublicApi {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { uri } = config::read(value)?;
        Ok(Arc::new(Self { uri, shared: Arc::clone(place.shared) }))
    }
}

impl Plugin for PublicApi {
    fn access(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let uri = self.uri.as_deref().unwrap_or_else(|| exchange.path(request));
        if uri != METRICS {
            return Answer::page(StatusCode::NOT_FOUND).into();
        }
        Flow::wait(scrape(Arc::clone(&self.shared), false), |text, _, _| {
            Answer::text(StatusCode::OK, text)
                .header(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"))
                .into()
        })
    }
}
