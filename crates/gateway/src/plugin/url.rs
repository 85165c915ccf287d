//! Paths and query strings as nginx reads and writes them.

use std::borrow::Cow;

use pingora::http::RequestHeader;

use crate::exchange::Exchange;

/// The query the upstream would get now: a plugin may have taken something out of the client's.
#[must_use]
pub fn query<'a>(exchange: &'a Exchange, request: &'a RequestHeader) -> Option<&'a str> {
    match &exchange.outgoing.target {
        Some(target) => target.split_once('?').map(|(_, query)| query),
        None => request.uri.query(),
    }
}

/// The first argument of that name, decoded. An argument without `=` is empty text here.
#[must_use]
pub fn argument<'a>(query: &'a str, name: &str) -> Option<Cow<'a, str>> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key) == name).then(|| decode(value))
    })
}

/// The query without any argument of that name; everything else keeps its place and spelling.
#[must_use]
pub fn without_argument(query: &str, name: &str) -> String {
    let mut out = String::with_capacity(query.len());
    for pair in query.split('&') {
        if decode(pair.split('=').next().unwrap_or(pair)) != name {
            if !out.is_empty() {
                out.push('&');
            }
            out.push_str(pair);
        }
    }
    out
}

/// Takes an argument out of what the upstream gets; the request itself keeps it.
pub fn hide_argument(exchange: &mut Exchange, request: &RequestHeader, name: &str) {
    let Some(query) = query(exchange, request) else { return };
    let query = without_argument(query, name);
    let path = match &exchange.outgoing.target {
        Some(target) => target.split('?').next().unwrap_or(target),
        None => request.uri.path(),
    };
    let separator = if query.is_empty() { "" } else { "?" };
    exchange.outgoing.target = Some(format!("{path}{separator}{query}"));
}

/// Undoes percent-encoding and `+`. Bytes that are not UTF-8 become the replacement character.
#[must_use]
pub fn decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (ahead.next().and_then(digit), ahead.next().and_then(digit)) {
                (Some(high), Some(low)) => {
                    out.push(high << 4 | low);
                    bytes = ahead;
                }
                _ => out.push(byte),
            },
            _ => out.push(byte),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// Encodes a decoded path as nginx does: what a request line must not hold, `%`, `?` and `#`.
pub fn encode_path(path: &str, out: &mut String) {
    encode(path, out, |b| b"\"#%<>?\\^`{|}".contains(&b));
}

/// Encodes only what would break a request line, because the rest is meant so.
pub fn encode_unsafe(text: &str, out: &mut String) {
    encode(text, out, |b| b == b'#');
}

/// Encodes only what no header may hold: control characters, spaces and what is not ASCII.
pub fn encode_control(text: &str, out: &mut String) {
    encode(text, out, |_| false);
}

#[expect(clippy::indexing_slicing, reason = "half a byte is a digit")]
fn encode(text: &str, out: &mut String, also: impl Fn(u8) -> bool) {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !also(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_found_decoded_and_in_order() {
        assert_eq!(argument("a=1&b=x%20y+z&b=2", "b").as_deref(), Some("x y z"));
        assert_eq!(argument("flag&a=1", "flag").as_deref(), Some(""));
        assert_eq!(argument("%61=1", "a").as_deref(), Some("1"));
        assert_eq!(argument("A=1", "a"), None);
        assert_eq!(argument("a=%zz%4", "a").as_deref(), Some("%zz%4"));
    }

    #[test]
    fn taking_an_argument_out_leaves_the_others_as_they_were() {
        assert_eq!(without_argument("a=1&key=s&b=%20&key=t", "key"), "a=1&b=%20");
        assert_eq!(without_argument("key=s", "key"), "");
    }

    #[test]
    fn paths_are_encoded_like_nginx_does() {
        let mut out = String::new();
        encode_path("/a b/ü?#%&=:@", &mut out);
        assert_eq!(out, "/a%20b/%C3%BC%3F%23%25&=:@");
        let mut out = String::new();
        encode_unsafe("/a%20b?x=1 2\r\n", &mut out);
        assert_eq!(out, "/a%20b?x=1%202%0D%0A");
    }
}
