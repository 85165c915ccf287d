//! Host names as gateways compare them.

use std::net::Ipv6Addr;

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_bracketed(text: &str) -> bool {
    text.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok())
}

/// A name or address, or a star with a suffix, without a port.
pub fn is_pattern(text: &str) -> bool {
    text == "*" || is_name(text.strip_prefix('*').unwrap_or(text)) || is_bracketed(text)
}

/// A name or address of a backend, without a port; IPv6 with or without brackets.
pub fn is_address(text: &str) -> bool {
    is_name(text) || is_bracketed(text) || text.parse::<Ipv6Addr>().is_ok()
}

/// A `Host` header: a name or address and perhaps a port.
pub fn is_header(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !text.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    (is_name(host) || is_bracketed(host)) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_belong_to_headers_only() {
        assert!(is_pattern("*.example.com") && is_pattern("*") && is_pattern("[::1]"));
        for bad in ["", "a b", "example.com:8080", "a.*.com", "https://example.com", "::1"] {
            assert!(!is_pattern(bad), "{bad}");
        }
        assert!(is_address("10.0.0.1") && is_address("::1") && is_address("pay.internal"));
        assert!(!is_address("*.example.com") && !is_address("pay.internal:80"));
        assert!(is_header("example.com:8080") && is_header("example.com") && is_header("[::1]:80"));
        assert!(!is_header("example.com:http") && !is_header("::1") && !is_header(""));
    }
}
