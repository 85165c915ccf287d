//! proxy-rewrite: what the upstream is asked instead of what the client asked.
//!
//! Variables, expressions and later plugins keep seeing the client's path; only the upstream
//! sees the new one.

use std::{borrow::Cow, sync::Arc};

use fancy_regex::Captures;
use gantry_routing::vars::{Var, Vars};
use http::{HeaderValue, Method, StatusCode};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config, headers::Changes, substitution::Substitution, url};
use crate::{
    answer::Answer,
    exchange::Exchange,
    template::{Piece, Template},
};

pub(super) const KIND: Kind =
    Kind { name: "proxy-rewrite", compile: ProxyRewrite::compile, identify: None };

#[derive(Deserialize)]
struct Config {
    uri: Option<String>,
    #[serde(default)]
    regex_uri: Vec<String>,
    host: Option<String>,
    method: Option<String>,
    headers: Option<Value>,
    use_real_request_uri_unsafe: bool,
}

struct ProxyRewrite {
    path: Path,
    /// Whether the raw request target goes in and the result goes out as it is.
    raw: bool,
    host: Option<HeaderValue>,
    method: Option<Method>,
    headers: Changes,
}

/// Where the new path comes from.
enum Path {
    Kept,
    Template(Template),
    /// The first pattern found in the path is used.
    Patterns(Vec<Substitution>),
}

/// The request's variables, and the groups of the pattern that matched as `$1`, `$2` ...
struct WithCaptures<'a> {
    vars: &'a dyn Vars,
    captures: Option<&'a Captures<'a, str>>,
}

impl Vars for WithCaptures<'_> {
    fn var(&self, name: &str) -> Option<Var<'_>> {
        let Ok(group) = name.parse::<usize>() else { return self.vars.var(name) };
        let found = self.captures.and_then(|captures| captures.get(group));
        found.map(|text| Var::Text(Cow::Borrowed(text.as_str())))
    }
}

impl ProxyRewrite {
    fn compile(value: &Value, _place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let pair = |pair: &[String]| match pair {
            [pattern, replacement] => Substitution::new(pattern, replacement, ""),
            _ => Err("`regex_uri` needs a replacement for each pattern".to_owned()),
        };
        let path = match &config.uri {
            Some(uri) => Path::Template(Template::new(uri)),
            None if config.regex_uri.is_empty() => Path::Kept,
            None => Path::Patterns(config.regex_uri.chunks(2).map(pair).collect::<Result<_, _>>()?),
        };
        let method = config.method.as_deref().map(|method| {
            method.parse().map_err(|_| format!("`{method}` is not a request method"))
        });
        Ok(Arc::new(Self {
            path,
            raw: config.use_real_request_uri_unsafe,
            host: config.host.as_deref().map(config::header_value).transpose()?,
            method: method.transpose()?,
            headers: Changes::parse(config.headers.as_ref())?,
        }))
    }

    /// The new target and the changed headers. Fails if a pattern gave up.
    fn rewritten(
        &self,
        exchange: &mut Exchange,
        request: &mut RequestHeader,
    ) -> Result<(), String> {
        // As the client sent it, except for credentials that are hidden.
        let source = match self.raw {
            true => with_query(request.uri.path().to_owned(), url::query(exchange, request)),
            false => String::new(),
        };
        let subject = if self.raw { &source } else { exchange.path(request) };
        let (path, captures) = match &self.path {
            Path::Kept => (None, None),
            Path::Template(template) => (Some(self.render_uri(template, exchange, request)), None),
            Path::Patterns(patterns) => match first_match(patterns, subject)? {
                None => (None, None),
                Some((pattern, captures)) => {
                    let path = self.encoded(&pattern.replace(subject, &captures), subject);
                    (Some(path), Some(captures))
                }
            },
        };
        let target = match path {
            Some(path) if self.raw => Some(path),
            Some(path) => Some(with_query(path, url::query(exchange, request))),
            None if self.raw => Some(source.clone()),
            None => None,
        };
        if !self.headers.is_empty() {
            let facts = exchange.facts(request);
            let vars = WithCaptures { vars: &facts, captures: captures.as_ref() };
            let changes = self.headers.render(&vars);
            drop(captures);
            if let Some(host) = changes.apply(request) {
                exchange.outgoing.host = Some(host);
            }
        }
        if target.is_some() {
            exchange.outgoing.target = target;
        }
        Ok(())
    }

    /// Renders `uri`. What variables bring into the path is encoded, a `?` too; the query
    /// starts at the first `?` of the configuration.
    fn render_uri(
        &self,
        template: &Template,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> String {
        let mut out = String::with_capacity(64);
        let mut in_query = false;
        template.each(&exchange.facts(request), |piece| match piece {
            Piece::Literal(text) | Piece::Value(text) if self.raw || in_query => {
                url::encode_unsafe(text, &mut out);
            }
            Piece::Value(text) => url::encode_path(text, &mut out),
            Piece::Literal(text) => {
                let (path, query) = split_query(text);
                url::encode_path(path, &mut out);
                url::encode_unsafe(query, &mut out);
                in_query = !query.is_empty();
            }
        });
        out
    }

    /// Encodes what a pattern made of the path. A `?` starts a query only if the client's path
    /// had none (as `%3F`), because then the configuration put it there.
    fn encoded(&self, path: &str, source: &str) -> String {
        let mut out = String::with_capacity(path.len() + 16);
        if self.raw {
            url::encode_unsafe(path, &mut out);
            return out;
        }
        let (path, query) = if source.contains('?') { (path, "") } else { split_query(path) };
        url::encode_path(path, &mut out);
        url::encode_unsafe(query, &mut out);
        out
    }
}

impl Plugin for ProxyRewrite {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        if let Some(host) = &self.host {
            exchange.outgoing.host = Some(host.clone());
        }
        if let Some(method) = &self.method {
            exchange.outgoing.method = Some(method.clone());
        }
        match self.rewritten(exchange, request) {
            Ok(()) => Flow::Next,
            Err(error) => {
                let body = json!({ "error_msg": format!("failed to match the path: {error}") });
                Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body).into()
            }
        }
    }
}

fn first_match<'p, 't>(
    patterns: &'p [Substitution],
    text: &'t str,
) -> Result<Option<(&'p Substitution, Captures<'t, str>)>, String> {
    for pattern in patterns {
        if let Some(captures) = pattern.captures(text)? {
            return Ok(Some((pattern, captures)));
        }
    }
    Ok(None)
}

/// Splits before the first `?`; the mark stays with the query.
fn split_query(text: &str) -> (&str, &str) {
    text.split_at(text.find('?').unwrap_or(text.len()))
}

/// Adds the client's query, which is never lost.
fn with_query(mut target: String, query: Option<&str>) -> String {
    if let Some(query) = query {
        target.push(if target.contains('?') { '&' } else { '?' });
        target.push_str(query);
    }
    target
}
