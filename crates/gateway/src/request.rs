//! Reading parts of a request the way nginx does.

use std::{borrow::Cow, net::IpAddr};

use http::header;
use pingora::http::RequestHeader;

/// The Host header, or what HTTP/2 says instead; empty if there is neither.
#[must_use]
pub fn authority(request: &RequestHeader) -> &str {
    let header = request.headers.get(header::HOST).and_then(|value| value.to_str().ok());
    header.or_else(|| request.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("")
}

/// The host asked for, without port and final dot.
#[must_use]
pub fn host(request: &RequestHeader) -> &str {
    split_port(authority(request)).0.trim_end_matches('.')
}

/// Host and port of an authority; an IPv6 address keeps its brackets.
#[must_use]
pub fn split_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

/// Path and query as the client sent them.
#[must_use]
pub fn target(request: &RequestHeader) -> &str {
    request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

/// The first query argument of this name, as it came. Names in any case, like nginx's `$arg_…`.
#[must_use]
pub fn argument<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
    let pairs = request.uri.query()?.split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(found, value)| found.eq_ignore_ascii_case(name).then_some(value))
}

/// The value of a cookie.
#[must_use]
pub fn cookie<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
    let headers =
        request.headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    headers
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim_start().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// X-Forwarded-For with this address at its end.
#[must_use]
pub fn forwarded_for(request: &RequestHeader, client: IpAddr) -> String {
    let client = client.to_canonical();
    let mut chain = String::new();
    for value in request.headers.get_all("x-forwarded-for") {
        chain.push_str(&value.to_str().map_or(Cow::Borrowed(""), Cow::Borrowed));
        chain.push_str(", ");
    }
    chain.push_str(&client.to_string());
    chain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", target.as_bytes(), None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        request
    }

    #[test]
    fn hosts_lose_port_and_final_dot() {
        for (header, expected) in [
            ("a.com", "a.com"),
            ("a.com:80", "a.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("a.com.", "a.com"),
        ] {
            assert_eq!(host(&request("/", &[("Host", header)])), expected);
        }
    }

    #[test]
    fn arguments_and_cookies_are_found_by_name() {
        let request = request("/a?b=1&Cc=2&b=3&d", &[("Cookie", "x=1; y=2"), ("Cookie", "z=3")]);
        assert_eq!(argument(&request, "b"), Some("1"));
        assert_eq!(argument(&request, "cc"), Some("2"));
        assert_eq!(argument(&request, "d"), None);
        assert_eq!(cookie(&request, "y"), Some("2"));
        assert_eq!(cookie(&request, "z"), Some("3"));
        assert_eq!(cookie(&request, "a"), None);
    }

    #[test]
    fn the_clients_address_ends_the_chain() {
        let request = request("/", &[("X-Forwarded-For", "1.1.1.1")]);
        assert_eq!(forwarded_for(&request, [10, 0, 0, 1].into()), "1.1.1.1, 10.0.0.1");
    }
}
