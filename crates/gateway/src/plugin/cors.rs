//! cors: answers preflights before anything else and says on every response who may read it.
//!
//! Who may is asked of the metadata's lists first, then of the patterns, or of `allow_origins` if there
//! are none. `Vary: Origin` is there whenever the answer depends on the origin; APISIX leaves it out
//! where `allow_origins` is `*` beside a list or a pattern, and a cache may then tell one client what
//! another was told.

use std::{collections::HashMap, sync::Arc};

use fancy_regex::Regex;
use gantry_routing::regex;
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ORIGIN, VARY,
    },
};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::Value;

use super::{Flow, Kind, Place, Plugin, config};
use crate::{answer::Answer, exchange::Exchange};

pub(super) const KIND: Kind = Kind { name: "cors", compile: Cors::compile, identify: None };

const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const ANY: HeaderValue = HeaderValue::from_static("*");
const ALL_METHODS: &str = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE";

#[derive(Deserialize)]
struct Config {
    allow_origins: String,
    allow_methods: String,
    allow_headers: String,
    expose_headers: Option<String>,
    max_age: i64,
    allow_credential: bool,
    allow_origins_by_regex: Option<Vec<String>>,
    allow_origins_by_metadata: Option<Vec<String>>,
    timing_allow_origins: Option<String>,
    timing_allow_origins_by_regex: Option<Vec<String>>,
}

/// The plugin's metadata: lists of origins by name.
#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    allow_origins: HashMap<String, String>,
}

struct Cors {
    origins: Origins,
    timing: Option<Origins>,
    /// What stands on every response that has CORS headers at all.
    fixed: Vec<(HeaderName, HeaderValue)>,
    echo_headers: bool,
    vary: bool,
}

/// Who may read.
enum Origins {
    /// This text, whoever asks.
    Text(HeaderValue),
    /// Whoever asks; `*` if nobody says who.
    Anybody,
    List(Vec<String>),
    Patterns(Vec<Regex>),
    /// Whoever asks and is one of these.
    Members(Vec<Origins>),
    /// The first of these that has an answer.
    First(Vec<Origins>),
}

/// What the client said, left in [`Exchange::notes`] because later plugins may change it.
#[derive(Clone)]
struct Asked {
    origin: Option<HeaderValue>,
    headers: Option<HeaderValue>,
}

impl Cors {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let metadata: Metadata = place.metadata.map(config::read).transpose()?.unwrap_or_default();
        let by_origin = config.allow_origins != "*"
            || config.allow_origins_by_regex.is_some()
            || config.allow_origins_by_metadata.is_some();
        let timing = match (&config.timing_allow_origins_by_regex, &config.timing_allow_origins) {
            (Some(patterns), _) => Some(Origins::patterns(patterns)?),
            (None, Some(text)) => Some(Origins::parse(text)?),
            (None, None) => None,
        };
        Ok(Arc::new(Self {
            origins: origins(&config, &metadata)?,
            timing,
            fixed: fixed(&config)?,
            echo_headers: config.allow_headers == "**",
            vary: by_origin,
        }))
    }
}

/// The headers that do not depend on the request.
fn fixed(config: &Config) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let methods = match config.allow_methods.as_str() {
        "**" => ALL_METHODS,
        methods => methods,
    };
    let mut headers = vec![
        (ACCESS_CONTROL_ALLOW_METHODS, config::header_value(methods)?),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from(config.max_age)),
    ];
    if let Some(names) = config.expose_headers.as_deref().filter(|names| !names.is_empty()) {
        headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, config::header_value(names)?));
    }
    if config.allow_headers != "**" {
        headers.push((ACCESS_CONTROL_ALLOW_HEADERS, config::header_value(&config.allow_headers)?));
    }
    if config.allow_credential {
        headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
    }
    Ok(headers)
}

fn origins(config: &Config, metadata: &Metadata) -> Result<Origins, String> {
    let mut first = Vec::new();
    if let Some(names) = &config.allow_origins_by_metadata {
        let listed = names.iter().filter_map(|name| metadata.allow_origins.get(name));
        let members = listed.map(|text| Origins::parse(text)).collect::<Result<_, _>>()?;
        first.push(Origins::Members(members));
    }
    match &config.allow_origins_by_regex {
        Some(patterns) => first.push(Origins::patterns(patterns)?),
        // The default, which would make the lists meaningless.
        None if !first.is_empty() && config.allow_origins == "*" => {}
        None => first.push(Origins::parse(&config.allow_origins)?),
    }
    Ok(Origins::First(first))
}

impl Origins {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(match text {
            "**" => Self::Anybody,
            text if text.contains(',') => Self::List(text.split(',').map(str::to_owned).collect()),
            text => Self::Text(config::header_value(text)?),
        })
    }

    fn patterns(patterns: &[String]) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| regex::compile(pattern, false));
        Ok(Self::Patterns(compiled.collect::<Result<_, _>>()?))
    }

    /// The value of `Access-Control-Allow-Origin` for a client, or None if it may not read.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Anybody => Some(origin.cloned().unwrap_or(ANY)),
            Self::List(list) => {
                origin.filter(|origin| list.iter().any(|allowed| *allowed == **origin)).cloned()
            }
            Self::Patterns(patterns) => {
                let text = origin?.to_str().ok()?;
                let found = |regex: &Regex| regex.is_match(text).unwrap_or(false);
                patterns.iter().any(found).then(|| origin.cloned()).flatten()
            }
            Self::Members(members) => {
                let asking = origin?;
                let mut told = members.iter().filter_map(|origins| origins.allowed(origin));
                told.any(|told| told == asking || told == ANY).then(|| asking.clone())
            }
            Self::First(first) => first.iter().find_map(|origins| origins.allowed(origin)),
        }
    }
}

impl Plugin for Cors {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let origin = request.headers.get(ORIGIN).cloned();
        let headers = request.headers.get(ACCESS_CONTROL_REQUEST_HEADERS).cloned();
        if origin.is_some() || headers.is_some() {
            exchange.notes.insert(Asked { origin, headers });
        }
        if request.method == Method::OPTIONS {
            return Answer::text(StatusCode::OK, "").into();
        }
        Flow::Next
    }

    fn response_headers(
        &self,
        exchange: &mut Exchange,
        _request: &RequestHeader,
        response: &mut ResponseHeader,
    ) {
        let asked = exchange.notes.get::<Asked>();
        let origin = asked.and_then(|asked| asked.origin.as_ref());
        // Setting fails only if the header map is full; a browser then refuses, which is safe.
        let mut set = |name, value| drop(response.insert_header(name, value));
        if let Some(value) = self.origins.allowed(origin) {
            set(ACCESS_CONTROL_ALLOW_ORIGIN, value);
            for (name, value) in &self.fixed {
                set(name.clone(), value.clone());
            }
            if let Some(headers) = asked.and_then(|asked| asked.headers.as_ref())
                && self.echo_headers
            {
                set(ACCESS_CONTROL_ALLOW_HEADERS, headers.clone());
            }
        }
        if let Some(value) = self.timing.as_ref().and_then(|timing| timing.allowed(origin)) {
            set(TIMING_ALLOW_ORIGIN, value);
        }
        if self.vary {
            // As above.
            let _ = response.append_header(VARY, HeaderValue::from_static("Origin"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(origins: &Origins, origin: &str) -> Option<String> {
        let origin = HeaderValue::try_from(origin).unwrap();
        origins.allowed(Some(&origin)).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_single_origin_is_told_to_everybody() {
        for text in ["*", "null", "http://a.com"] {
            let origins = Origins::parse(text).unwrap();
            assert_eq!(allowed(&origins, "http://b.com").as_deref(), Some(text));
        }
    }

    #[test]
    fn two_stars_echo_the_origin() {
        assert_eq!(allowed(&Origins::Anybody, "http://a.com").as_deref(), Some("http://a.com"));
        assert_eq!(Origins::Anybody.allowed(None), Some(ANY));
    }

    #[test]
    fn lists_are_exact_and_patterns_are_searched() {
        let list = Origins::parse("http://a.com,http://b.com").unwrap();
        assert_eq!(allowed(&list, "http://b.com").as_deref(), Some("http://b.com"));
        assert_eq!(allowed(&list, "http://b.com.evil"), None);
        let patterns = Origins::patterns(&[r".*\.test\.com$".to_owned()]).unwrap();
        assert_eq!(allowed(&patterns, "http://x.test.com").as_deref(), Some("http://x.test.com"));
        assert_eq!(allowed(&patterns, "http://x.test.org"), None);
        assert_eq!(patterns.allowed(None), None);
    }
}
