//! redirect: sends the client elsewhere, by a template, by a pattern, or to HTTPS.

use std::sync::Arc;

use http::{HeaderValue, Method, StatusCode, header::LOCATION};
use pingora::http::RequestHeader;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Flow, Kind, Place, Plugin, config, substitution::Substitution, url};
use crate::{
    answer::Answer,
    exchange::Exchange,
    template::{Names, Template},
};

pub(super) const KIND: Kind = Kind { name: "redirect", compile: Redirect::compile, identify: None };

/// The port a URL need not name.
const HTTPS: u16 = 443;

#[derive(Deserialize)]
struct Config {
    uri: Option<String>,
    regex_uri: Option<(String, String)>,
    http_to_https: Option<bool>,
    ret_code: u16,
    encode_uri: bool,
    append_query_string: bool,
}

struct Redirect {
    target: Target,
    status: StatusCode,
    encode: bool,
    append_query: bool,
}

enum Target {
    Template(Template),
    Pattern(Substitution),
    Https(Template),
    /// `http_to_https` is there but false.
    Nowhere,
}

impl Redirect {
    fn compile(value: &Value, place: &Place<'_>) -> Result<Arc<dyn Plugin>, String> {
        let config: Config = config::read(value)?;
        let target = match (&config.uri, &config.regex_uri, config.http_to_https) {
            (Some(uri), None, None) => Target::Template(Template::with_names(uri, Names::Plain)),
            (None, Some((pattern, replacement)), None) => {
                Target::Pattern(Substitution::new(pattern, replacement, "")?)
            }
            (None, None, Some(true)) => Target::Https(https(place.shared.https_port)),
            (None, None, Some(false)) => Target::Nowhere,
            _ => return Err("give one of `uri`, `regex_uri` and `http_to_https`".to_owned()),
        };
        Ok(Arc::new(Self {
            target,
            status: config::status(config.ret_code)?,
            encode: config.encode_uri,
            append_query: config.append_query_string,
        }))
    }

    /// The new location and its status; None lets the request go on.
    fn location(
        &self,
        exchange: &Exchange,
        request: &RequestHeader,
    ) -> Result<Option<(StatusCode, String)>, String> {
        let facts = exchange.facts(request);
        let (status, location) = match &self.target {
            Target::Template(template) => (self.status, template.render(&facts).into_owned()),
            Target::Https(template)
                if exchange.client_scheme(request).eq_ignore_ascii_case("http") =>
            {
                let safe = matches!(request.method, Method::GET | Method::HEAD);
                let status = if safe {
                    StatusCode::MOVED_PERMANENTLY
                } else {
                    StatusCode::PERMANENT_REDIRECT
                };
                (status, template.render(&facts).into_owned())
            }
            Target::Pattern(pattern) => match pattern.first(exchange.path(request))? {
                Some(location) => (self.status, location),
                None => return Ok(None),
            },
            Target::Https(_) | Target::Nowhere => return Ok(None),
        };
        Ok(Some((status, self.finished(&location, url::query(exchange, request)))))
    }

    /// Encodes and appends as configured. What no header may hold is always encoded.
    fn finished(&self, location: &str, query: Option<&str>) -> String {
        let (path, own) = location.split_at(location.find('?').unwrap_or(location.len()));
        let mut out = String::with_capacity(location.len() + 16);
        if self.encode {
            url::encode_path(path, &mut out);
        } else {
            url::encode_control(path, &mut out);
        }
        url::encode_control(own, &mut out);
        if let Some(query) = query.filter(|_| self.append_query) {
            out.push(if own.is_empty() { '?' } else { '&' });
            out.push_str(query);
        }
        out
    }
}

impl Plugin for Redirect {
    fn rewrite(&self, exchange: &mut Exchange, request: &mut RequestHeader) -> Flow {
        let location = self.location(exchange, request).map(|found| {
            found.and_then(|(status, to)| Some((status, HeaderValue::try_from(to).ok()?)))
        });
        match location {
            Ok(None) => Flow::Next,
            Ok(Some((status, location))) => Answer::page(status).header(LOCATION, location).into(),
            Err(error) => {
                let body = json!({ "error_msg": format!("failed to match the path: {error}") });
                Answer::json(StatusCode::INTERNAL_SERVER_ERROR, &body).into()
            }
        }
    }
}

fn https(port: Option<u16>) -> Template {
    Template::new(&match port {
        None | Some(0 | HTTPS) => "https://$host$request_uri".to_owned(),
        Some(port) => format!("https://$host:{port}$request_uri"),
    })
}
