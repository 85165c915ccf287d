//! Reading parts of a request the way nginx does.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, header};
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

/// The host of an authority as certificates and name resolution know it: no port, no brackets.
#[must_use]
pub fn server_name(authority: &str) -> &str {
    let host = split_port(authority).0;
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

/// Path and query as the client sent them.
#[must_use]
pub fn target(request: &RequestHeader) -> &str {
    request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str)
}

/// All values of a header as variables see them: asked for with underscores in place of dashes, in
/// any case, several values joined. None if there is none.
#[must_use]
pub fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<Cow<'a, str>> {
    let mut buffer = [0; SHORT];
    let dashed = with_dashes(name, &mut buffer);
    let literal = (dashed != name).then(|| headers.get_all(name));
    let mut values = headers.get_all(&*dashed).iter().chain(literal.into_iter().flatten());
    let first = text(values.next()?);
    let Some(second) = values.next() else { return Some(first) };
    let separator = if name.eq_ignore_ascii_case("cookie") { "; " } else { ", " };
    let mut joined = first.into_owned();
    for value in [second].into_iter().chain(values) {
        joined.push_str(separator);
        joined.push_str(&text(value));
    }
    Some(Cow::Owned(joined))
}

/// The text of a header's value. Bytes that are not UTF-8 are read as ISO 8859-1, so that different
/// values stay different.
#[must_use]
pub fn text(value: &HeaderValue) -> Cow<'_, str> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(value.as_bytes().iter().copied().map(char::from).collect()),
    }
}

/// Header names up to this length are looked up without an allocation.
const SHORT: usize = 64;

fn with_dashes<'a>(name: &'a str, buffer: &'a mut [u8; SHORT]) -> Cow<'a, str> {
    if !name.contains('_') {
        return Cow::Borrowed(name);
    }
    let Some(short) = buffer.get_mut(..name.len()) else {
        return Cow::Owned(name.replace('_', "-"));
    };
    for (to, from) in short.iter_mut().zip(name.bytes()) {
        *to = if from == b'_' { b'-' } else { from };
    }
    std::str::from_utf8(short).map_or_else(|_| Cow::Borrowed(name), Cow::Borrowed)
}

/// Content-Length, if it is there.
#[must_use]
pub fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The user name of Basic credentials.
#[must_use]
pub fn user(request: &RequestHeader) -> Option<String> {
    let credentials = request.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = credentials.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    decoded.split_once(':').map(|(user, _)| user.to_owned())
}

/// All cookies, by name and value. One that is not UTF-8 is passed over and leaves the others.
pub fn cookies(request: &RequestHeader) -> impl Iterator<Item = (&str, &str)> {
    let headers = request.headers.get_all(header::COOKIE).iter();
    headers
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b';'))
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='))
}

/// The value of a cookie.
#[must_use]
pub fn cookie<'a>(request: &'a RequestHeader, name: &str) -> Option<&'a str> {
    cookies(request).find_map(|(found, value)| (found == name).then_some(value))
}

/// X-Forwarded-For with this address at its end.
#[must_use]
pub fn forwarded_for(request: &RequestHeader, client: &str) -> String {
    let mut chain = String::with_capacity(client.len());
    for value in request.headers.get_all(X_FORWARDED_FOR) {
        chain.push_str(value.to_str().unwrap_or(""));
        chain.push_str(", ");
    }
    chain.push_str(client);
    chain
}

// Spelt as nginx does: Pingora sends names as they are given, and static texts cost it nothing.
pub const X_FORWARDED_FOR: &str = "X-Forwarded-For";
pub const X_FORWARDED_PROTO: &str = "X-Forwarded-Proto";
pub const X_REAL_IP: &str = "X-Real-IP";

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
    fn server_names_have_neither_port_nor_brackets() {
        for (authority, expected) in
            [("a.com", "a.com"), ("a.com:8443", "a.com"), ("[::1]:80", "::1"), ("[::1]", "::1")]
        {
            assert_eq!(server_name(authority), expected);
        }
    }

    #[test]
    fn cookies_are_found_by_name() {
        let request = request("/a", &[("Cookie", "x=1; y=2"), ("Cookie", "z=3")]);
        assert_eq!(cookie(&request, "y"), Some("2"));
        assert_eq!(cookie(&request, "z"), Some("3"));
        assert_eq!(cookie(&request, "a"), None);
    }

    #[test]
    fn bytes_beyond_ascii_hide_nothing_else() {
        let mut request = request("/", &[("X-User", "José")]);
        for (name, value) in
            [("Cookie", &b"name=Jos\xc3\xa9; a=1; raw=\xe9; b=2"[..]), ("X-Raw", &b"Jos\xe9"[..])]
        {
            request.append_header(name, HeaderValue::from_bytes(value).unwrap()).unwrap();
        }
        for (name, expected) in
            [("name", Some("José")), ("a", Some("1")), ("raw", None), ("b", Some("2"))]
        {
            assert_eq!(cookie(&request, name), expected, "{name}");
        }
        for name in ["x_user", "x_raw"] {
            assert_eq!(header(&request.headers, name).as_deref(), Some("José"), "{name}");
        }
    }

    #[test]
    fn the_clients_address_ends_the_chain() {
        let request = request("/", &[("X-Forwarded-For", "1.1.1.1")]);
        assert_eq!(forwarded_for(&request, "10.0.0.1"), "1.1.1.1, 10.0.0.1");
    }

    #[test]
    fn headers_are_asked_for_with_underscores_and_joined() {
        let long = "x-".to_owned() + &"long-".repeat(20) + "name";
        let mut request = request("/", &[("X-A", "1"), ("x_a", "2"), ("X-A", "3"), ("Te", "x")]);
        request.append_header(long.clone(), "4").unwrap();
        for (name, expected) in [
            ("x_a", Some("1, 3, 2")),
            ("X_A", Some("1, 3, 2")),
            ("te", Some("x")),
            (&*long.replace('-', "_"), Some("4")),
            ("y", None),
            ("", None),
            ("é_", None),
        ] {
            assert_eq!(header(&request.headers, name).as_deref(), expected, "{name}");
        }
        assert!(matches!(header(&request.headers, "te"), Some(Cow::Borrowed("x"))));
    }

    #[test]
    fn the_user_is_that_of_basic_credentials() {
        for (credentials, expected) in [
            ("Basic amFjazpzZWNyZXQ6", Some("jack")),
            ("basic amFjazpzZWNyZXQ6", Some("jack")),
            ("Bearer amFjazpzZWNyZXQ6", None),
            ("Basic ?", None),
        ] {
            let request = request("/", &[("Authorization", credentials)]);
            assert_eq!(user(&request).as_deref(), expected, "{credentials}");
        }
    }
}
