//! A request read through the names of nginx's and APISIX's variables.

use std::{borrow::Cow, net::SocketAddr};

use gantry_routing::vars::{Var, Vars};
use http::{HeaderMap, Version};
use jiff::{Timestamp, ZonedDateTime};
use pingora::http::{RequestHeader, ResponseHeader};

use super::Exchange;
use crate::{
    machine,
    plugin::{Exported, RequestId, url},
    request,
    tls::cipher,
};

/// An exchange and its messages, as variables see them.
#[derive(Clone, Copy)]
pub struct Facts<'a> {
    pub exchange: &'a Exchange,
    pub request: &'a RequestHeader,
    /// The response head as sent; None before there is one.
    pub response: Option<&'a ResponseHeader>,
}

impl Vars for Facts<'_> {
    fn var(&self, name: &str) -> Option<Var<'_>> {
        self.of_message(name)
            .or_else(|| self.of_request(name))
            .or_else(|| self.of_connection(name))
            .or_else(|| self.of_configuration(name))
            .or_else(|| self.measured(name).map(|value| Var::from(digits(name, value))))
            .or_else(|| Self::of_surroundings(name))
    }
}

impl<'a> Facts<'a> {
    /// The bytes the request takes in HTTP/1.1.
    #[must_use]
    pub fn request_bytes(&self) -> u64 {
        let request = self.request;
        let line = request.method.as_str().len() + request.raw_path().len();
        let declared = request::length(&request.headers);
        let body = declared.unwrap_or(self.exchange.attempts.body_bytes);
        head_bytes(line, &request.headers).saturating_add(body)
    }

    /// The bytes the response takes in HTTP/1.1, as far as it was sent.
    #[must_use]
    pub fn response_bytes(&self) -> u64 {
        let head = self.response.map_or(0, |response| head_bytes(0, &response.headers));
        let body = u64::try_from(self.exchange.response.body_bytes).unwrap_or(u64::MAX);
        head.saturating_add(body)
    }

    /// Headers, arguments and cookies.
    fn of_message(&self, name: &str) -> Option<Var<'a>> {
        if let Some(header) = name.strip_prefix("http_") {
            return header_value(&self.request.headers, header);
        }
        if let Some(argument) = name.strip_prefix("arg_") {
            return argument_value(self.request.uri.query()?, argument);
        }
        if let Some(header) = name.strip_prefix("original_") {
            return self.as_received(header);
        }
        if let Some(cookie) = name.strip_prefix("cookie_") {
            return request::cookie(self.request, cookie).map(Var::from);
        }
        if name.starts_with("post_arg") || name.starts_with("graphql_") {
            return self.of_body(name);
        }
        let header =
            name.strip_prefix("sent_http_").or_else(|| name.strip_prefix("upstream_http_"))?;
        header_value(&self.response?.headers, header)
    }

    /// A header that tells of the way here, as long as it is the client's: while a route is looked for.
    fn as_received(&self, name: &str) -> Option<Var<'a>> {
        let tells = match name {
            "x_forwarded_proto" | "x_forwarded_host" | "x_forwarded_port" | "forwarded" => {
                !self.exchange.forwarding_noted
            }
            "x_forwarded_for" => true,
            _ => false,
        };
        let value = header_value(&self.request.headers, name).filter(|_| tells);
        value.or_else(|| (tells && name == "x_forwarded_proto").then(|| Var::from("")))
    }

    fn of_request(&self, name: &str) -> Option<Var<'a>> {
        let request = self.request;
        let uri = &request.uri;
        Some(match name {
            "uri" | "document_uri" => Var::from(self.exchange.path(request)),
            "request_uri" => self.request_uri(),
            "real_request_uri" => Var::from(request::target(request)),
            "args" | "query_string" => Var::from(uri.query()?),
            "is_args" => {
                Var::from(if uri.query().is_some_and(|query| !query.is_empty()) { "?" } else { "" })
            }
            "method" | "request_method" => Var::from(request.method.as_str()),
            "host" => Var::Text(lower(request::host(request))),
            "scheme" => Var::from(self.exchange.scheme()),
            "https" => Var::from(if self.exchange.connection.tls { "on" } else { "" }),
            "server_protocol" => Var::from(protocol(request.version)),
            "request" | "request_line" => Var::from(format!(
                "{} {} {}",
                request.method,
                request::target(request),
                protocol(request.version)
            )),
            "request_id" => Var::from(self.exchange.id()),
            "remote_user" => Var::from(request::user(request)?),
            "content_length" => return header_value(&request.headers, "content-length"),
            "content_type" => return header_value(&request.headers, "content-type"),
            "var_x_forwarded_host" => Var::from(request::authority(request)),
            "var_x_forwarded_port" => {
                let (_, port) = request::split_port(request::authority(request));
                let port = port.unwrap_or(self.exchange.connection.server.port());
                Var::from(port.to_string())
            }
            "proxy_add_x_forwarded_for" => {
                Var::from(request::forwarded_for(request, self.exchange.client.text()))
            }
            _ => return None,
        })
    }

    /// The normalised path and the query as it came.
    fn request_uri(&self) -> Var<'a> {
        match (&self.exchange.path, self.request.uri.query()) {
            (None, _) => Var::from(request::target(self.request)),
            (Some(path), None) => Var::from(path.as_str()),
            (Some(path), Some(query)) => Var::from(format!("{path}?{query}")),
        }
    }

    /// What has nothing to do with the request except that it asks.
    fn of_surroundings(name: &str) -> Option<Var<'a>> {
        Some(match name {
            "hostname" => Var::from(machine::hostname()),
            "msec" => {
                let now = Timestamp::now().as_millisecond();
                Var::from(format!("{}.{:03}", now / 1000, now % 1000))
            }
            "time_iso8601" => {
                Var::from(ZonedDateTime::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
            }
            "time_local" => {
                Var::from(ZonedDateTime::now().strftime("%d/%b/%Y:%H:%M:%S %z").to_string())
            }
            "pid" => Var::from(std::process::id().to_string()),
            _ => return None,
        })
    }

    fn of_connection(&self, name: &str) -> Option<Var<'a>> {
        let connection = &self.exchange.connection;
        Some(match name {
            "remote_addr" => Var::from(self.exchange.client.text()),
            "realip_remote_addr" => ip(connection.peer),
            "server_addr" => ip(connection.server),
            "proxy_protocol_addr" if connection.proxied => ip(connection.peer),
            "proxy_protocol_server_addr" if connection.proxied => ip(connection.server),
            "http2" => Var::from(match (self.request.version, connection.tls) {
                (Version::HTTP_2, true) => "h2",
                (Version::HTTP_2, false) => "h2c",
                _ => "",
            }),
            "http3" => Var::from(""),
            _ => return self.of_handshake(name.strip_prefix("ssl_")?),
        })
    }

    fn of_handshake(&self, name: &str) -> Option<Var<'a>> {
        let handshake = self.exchange.handshake.as_deref()?;
        let client = handshake.client.as_ref();
        Some(match name {
            "server_name" => Var::from(&*handshake.server_name),
            "protocol" => Var::from(handshake.version),
            "cipher" => Var::from(cipher(handshake.cipher)),
            "client_verify" => {
                Var::from(if handshake.client_verified { "SUCCESS" } else { "NONE" })
            }
            "client_s_dn" => Var::from(&*client?.subject),
            "client_i_dn" => Var::from(&*client?.issuer),
            "client_serial" => Var::from(&*client?.serial),
            "client_fingerprint" => Var::from(&*client?.fingerprint),
            _ => return None,
        })
    }

    fn of_configuration(&self, name: &str) -> Option<Var<'a>> {
        let exchange = self.exchange;
        let route = exchange.route.as_ref().map(|candidate| &*candidate.route);
        Some(match name {
            "route_id" => Var::from(&*route?.id),
            "route_name" => Var::from(route?.name.as_deref()?),
            "service_id" => Var::from(route?.service_id.as_deref()?),
            "service_name" => Var::from(route?.service_name()?),
            "consumer_name" => Var::from(&*exchange.consumer.as_ref()?.name),
            "consumer_group_id" => Var::from(exchange.consumer.as_ref()?.group_id.as_deref()?),
            "apisix_request_id" => match exchange.notes.get::<RequestId>() {
                Some(RequestId(id)) => Var::from(id.to_str().ok()?),
                None => Var::from(exchange.id()),
            },
            "opentelemetry_context_traceparent"
            | "opentelemetry_trace_id"
            | "opentelemetry_span_id" => Var::from(exchange.notes.get::<Exported>()?.var(name)?),
            "rate_limiting_info" => Var::from(exchange.decision.as_ref()?.text(self)?),
            "balancer_ip" => ip(exchange.attempts.address?),
            "balancer_port" => Var::Number(f64::from(exchange.attempts.address?.port())),
            "upstream_addr" => Var::from(exchange.attempts.address?.to_string()),
            "upstream_status" => Var::from(exchange.attempts.statuses()?),
            "upstream_connect_time" => Var::from(exchange.attempts.connect_times()?),
            "upstream_host" => match exchange.upstream_host() {
                Some(host) => Var::from(host.to_str().ok()?.to_owned()),
                None => Var::from(request::authority(self.request)),
            },
            "upstream_scheme" => {
                let upstream = exchange.attempts.upstream.as_ref()?;
                Var::from(match (upstream.http2, upstream.tls.is_some()) {
                    (false, false) => "http",
                    (false, true) => "https",
                    (true, false) => "grpc",
                    (true, true) => "grpcs",
                })
            }
            "upstream_cache_status" => {
                return header_value(&self.response?.headers, "apisix-cache-status");
            }
            "upstream_uri" => Var::from(
                exchange
                    .outgoing
                    .target
                    .as_deref()
                    .unwrap_or_else(|| request::target(self.request)),
            ),
            _ => return None,
        })
    }

    /// What variables show as text, as nginx does, and logs as a number.
    #[must_use]
    pub fn measured(&self, name: &str) -> Option<f64> {
        let exchange = self.exchange;
        Some(match name {
            "remote_port" => f64::from(exchange.client.port()),
            "realip_remote_port" => f64::from(exchange.connection.peer.port()),
            "server_port" => f64::from(exchange.connection.server.port()),
            "proxy_protocol_port" if exchange.connection.proxied => {
                f64::from(exchange.connection.peer.port())
            }
            "proxy_protocol_server_port" if exchange.connection.proxied => {
                f64::from(exchange.connection.server.port())
            }
            "status" => f64::from(self.response?.status.as_u16()),
            "bytes_sent" => self.response_bytes() as f64,
            "request_length" => self.request_bytes() as f64,
            "body_bytes_sent" => exchange.response.body_bytes as f64,
            "request_time" => exchange.started.elapsed().as_secs_f64(),
            "upstream_response_time" => exchange.attempts.response_time?.as_secs_f64(),
            "upstream_header_time" => exchange.attempts.header_time?.as_secs_f64(),
            _ => return None,
        })
    }
}

/// A measured value as nginx writes it: times in seconds with milliseconds.
fn digits(name: &str, value: f64) -> String {
    if name.ends_with("_time") { format!("{value:.3}") } else { value.to_string() }
}

/// The bytes a head takes in HTTP/1.1: line, headers, and the empty line at the end.
fn head_bytes(line: usize, headers: &HeaderMap) -> u64 {
    /// `HTTP/1.1`, a status or two spaces, and the line's end.
    const FIXED: usize = 16;
    let headers: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    u64::try_from(FIXED + line + headers).unwrap_or(u64::MAX)
}

fn header_value<'a>(headers: &'a HeaderMap, name: &str) -> Option<Var<'a>> {
    request::header(headers, name).map(Var::Text)
}

/// The first argument of a name, decoded; one without a value is a flag.
fn argument_value<'a>(query: &'a str, name: &str) -> Option<Var<'a>> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (url::decode(key) == name).then(|| Var::Text(url::decode(value))),
        None => (url::decode(pair) == name).then_some(Var::Flag(true)),
    })
}

fn ip(address: SocketAddr) -> Var<'static> {
    Var::from(address.ip().to_canonical().to_string())
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}
