//! Hosts, prefix, protocol and backend: from the document's first server, or from the extensions
//! `x-api7-hosts` and `x-api7-upstream`, which go before it.

use gantry_model::config::Protocol;
use gantry_model::config::upstream::{Scheme, Target, Upstream};
use gantry_routing::path;
use serde_json::{Value, json};

use super::reference::resolve;
use crate::check::{Report, host};

/// How the application is reached, and what it reaches.
pub struct Served {
    pub hosts: Vec<String>,
    pub path_prefix: String,
    /// Empty for both.
    pub protocols: Vec<Protocol>,
    pub upstream: Upstream,
}

/// A server's URL.
struct Url {
    /// None for a URL that is only a path.
    origin: Option<Origin>,
    path: String,
}

struct Origin {
    scheme: Scheme,
    /// An IPv6 address keeps its brackets.
    host: String,
    port: u16,
}

const WEIGHT: u16 = 100;

const URL: &str = "openapi.servers[0].url";
const HOSTS: &str = "openapi.x-api7-hosts";
const UPSTREAM: &str = "openapi.x-api7-upstream";

/// `None` if something about it is in the report.
pub fn read(document: &Value, report: &mut Report) -> Option<Served> {
    let before = report.0.len();
    let url = url(document, report);
    let origin = url.as_ref().and_then(|url| url.origin.as_ref());
    let hosts = hosts(document, origin, report);
    let upstream = upstream(document, origin, report);
    if url.is_some() && hosts.is_empty() && report.0.len() == before {
        let rule = "must be absolute, unless `x-api7-hosts` lists the hosts of the application";
        report.broken(URL, rule, r#""https://api.example.com/v1""#);
    }
    if url.is_some() && upstream.is_none() && report.0.len() == before {
        let rule = "must be absolute, unless `x-api7-upstream` says where the backend is";
        report.broken(URL, rule, r#""https://api.example.com/v1""#);
    }
    if report.0.len() > before {
        return None;
    }
    let protocols = match url.as_ref()?.origin.as_ref().map(|origin| origin.scheme) {
        None => Vec::new(),
        Some(Scheme::Http) => vec![Protocol::Http],
        Some(Scheme::Https) => vec![Protocol::Https],
    };
    Some(Served { hosts, path_prefix: url?.path, protocols, upstream: upstream? })
}

/// The first server's URL; OpenAPI says `/` where there is none.
fn url(document: &Value, report: &mut Report) -> Option<Url> {
    let Some(first) = document["servers"].get(0) else {
        return Some(Url { origin: None, path: "/".to_owned() });
    };
    let server = match resolve(document, first) {
        Ok(server) => server,
        Err(rule) => {
            report.broken("openapi.servers[0].$ref", rule, "");
            return None;
        }
    };
    let text = expanded(server, report)?;
    match parse(&text) {
        Ok(url) => Some(url),
        Err(rule) => {
            report.broken(URL, rule, r#""https://api.example.com/v1""#);
            None
        }
    }
}

/// The URL with the defaults of its variables put in.
fn expanded(server: &Value, report: &mut Report) -> Option<String> {
    let Some(mut rest) = server["url"].as_str() else {
        report.broken(URL, "must be a URL", r#""https://api.example.com/v1""#);
        return None;
    };
    let mut url = String::new();
    while let Some((before, behind)) = rest.split_once('{') {
        let Some((name, after)) = behind.split_once('}') else {
            report.broken(URL, "must not hold a brace without its partner", "");
            return None;
        };
        let default = match &server["variables"][name]["default"] {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                let field = format!("openapi.servers[0].variables.{name}.default");
                report.broken(field, "must be a text, because the URL needs it", r#""v1""#);
                return None;
            }
        };
        url += before;
        url += &default;
        rest = after;
    }
    Some(url + rest)
}

fn parse(text: &str) -> Result<Url, &'static str> {
    let text = text.trim();
    if text.contains(['?', '#']) {
        return Err("must not hold a query or a fragment");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        if text.starts_with("//") {
            return Err("must name its scheme, http or https");
        }
        return Ok(Url { origin: None, path: prefix(text)? });
    };
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err("must have the scheme http or https"),
    };
    let at = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(at);
    if authority.contains('@') {
        return Err("must not hold a user name or password");
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !authority.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let standard = if scheme == Scheme::Https { 443 } else { 80 };
    let port = match port {
        None | Some("") => standard,
        Some(port) => {
            port.parse().ok().filter(|port| *port > 0).ok_or("must have a port from 1 to 65535")?
        }
    };
    if name.contains('*') || !host::is_pattern(name) {
        return Err("must name a host");
    }
    let origin = Origin { scheme, host: name.to_ascii_lowercase(), port };
    Ok(Url { origin: Some(origin), path: prefix(path)? })
}

/// A path as the prefix of an application: decoded, with a slash in front and none behind.
fn prefix(path: &str) -> Result<String, &'static str> {
    let slash = if path.starts_with('/') { "" } else { "/" };
    let path = format!("{slash}{path}");
    let normal = path::normalize(&path).map_err(|_| "must have a valid path")?;
    let trimmed = normal.trim_end_matches('/');
    Ok(if trimmed.is_empty() { "/" } else { trimmed }.to_owned())
}

fn hosts(document: &Value, origin: Option<&Origin>, report: &mut Report) -> Vec<String> {
    let Some(given) = document.get("x-api7-hosts") else {
        return origin.map(|origin| origin.host.clone()).into_iter().collect();
    };
    let mut hosts = Vec::new();
    for name in given.as_array().into_iter().flatten().map(|name| name.as_str().unwrap_or_default())
    {
        let name = name.to_ascii_lowercase();
        if !host::is_pattern(&name) {
            let field = format!("{HOSTS}[{}]", hosts.len());
            report.broken(field, "must be a host name without a port", r#""api.example.com""#);
        }
        if !hosts.contains(&name) {
            hosts.push(name);
        }
    }
    if hosts.is_empty() {
        report.broken(HOSTS, "must list at least one host", r#"["api.example.com"]"#);
    }
    hosts
}

fn upstream(document: &Value, origin: Option<&Origin>, report: &mut Report) -> Option<Upstream> {
    if let Some(given) = document.get("x-api7-upstream") {
        let read = serde_json::from_value(given.clone());
        return read
            .map_err(|reason| {
                let example = json!({ "scheme": "http", "targets": [
                    { "host": "10.0.0.11", "port": 8080, "weight": 1 }
                ] });
                let rule = format!("must be an upstream as applications have it: {reason}");
                report.broken(UPSTREAM, rule, example.to_string());
            })
            .ok();
    }
    let Origin { scheme, host, port } = origin?;
    Some(Upstream {
        scheme: *scheme,
        lb_type: gantry_model::config::upstream::LoadBalancing::default(),
        hash_key: String::new(),
        service_discovery: None,
        targets: vec![Target { host: host.clone(), port: *port, weight: WEIGHT }],
        retries: None,
        timeout: None,
        upstream_host_mode: String::new(),
        upstream_host: String::new(),
        client_cert_id: None,
        checks: None,
    })
}
