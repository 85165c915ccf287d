//! referer-restriction: allow or deny by the host of the page a request comes from.

use std::sync::Arc;

use http::{StatusCode, header::REFERER};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange, request};

pub(super) const KIND: Kind =
    Kind { name: "referer-restriction", compile: RefererRestriction::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    whitelist: Option<Vec<String>>,
    blacklist: Option<Vec<String>>,
    bypass_missing: bool,
    message: String,
}

struct RefererRestriction {
    list: Vec<Pattern>,
    /// Whether being in the list lets a request in; else it keeps the request out.
    admits: bool,
    bypass_missing: bool,
    message: String,
}

enum Pattern {
    Exact(String),
    Suffix(String),
}

impl Pattern {
    fn new(text: &str) -> Self {
        let text = text.to_ascii_lowercase();
        match text.strip_prefix('*') {
            Some(suffix) => Self::Suffix(suffix.to_owned()),
            None => Self::Exact(text),
        }
    }

    fn fits(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Suffix(suffix) => host.ends_with(suffix),
        }
    }
}

impl RefererRestriction {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let Config { whitelist, blacklist, bypass_missing, message } = config::read(value)?;
        let (list, admits) = match (&whitelist, &blacklist) {
            (Some(list), None) => (list, true),
            (None, Some(list)) => (list, false),
            _ => return Err("give either `whitelist` or `blacklist`".to_owned()),
        };
        let list = list.iter().map(|text| Pattern::new(text)).collect();
        Ok(Arc::new(Self { list, admits, bypass_missing, message }))
    }
}

impl Plugin for RefererRestriction {
    fn access(&self, _exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let welcome = match host(request) {
            Some(host) => self.list.iter().any(|pattern| pattern.fits(&host)) == self.admits,
            None => self.bypass_missing,
        };
        if welcome {
            return Flow::Next;
        }
        Answer::json(StatusCode::FORBIDDEN, &json!({ "message": self.message })).into()
    }
}

/// The host of the Referer in lower case; None if there is none that can be read.
fn host(request: &RequestHeader) -> Option<String> {
    let referer = request::text(request.headers.get(REFERER)?);
    let (scheme, rest) = referer.split_once("//")?;
    // A page without a scheme has that of this request.
    let is_scheme = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    };
    if !scheme.is_empty() && !scheme.strip_suffix(':').is_some_and(is_scheme) {
        return None;
    }
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    let host = request::split_port(authority).0;
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}
