//! How long a response may be kept, by its headers and by the cache's rules.

use http::{HeaderMap, HeaderName, header};
use jiff::fmt::rfc2822;

const X_ACCEL_EXPIRES: HeaderName = HeaderName::from_static("x-accel-expires");

/// The directives of `Cache-Control`.
pub struct Directives<'a>(Vec<(&'a str, Option<&'a str>)>);

impl<'a> Directives<'a> {
    pub fn of(headers: &'a HeaderMap) -> Self {
        let lines = headers.get_all(header::CACHE_CONTROL).iter();
        let directives =
            lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.split(','));
        let parse = |directive: &'a str| match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim().trim_matches('"'))),
            None => (directive.trim(), None),
        };
        Self(directives.map(parse).collect())
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(found, _)| found.eq_ignore_ascii_case(name))
    }

    /// The number that a directive has, in seconds.
    pub fn seconds(&self, name: &str) -> Option<u64> {
        let named = |(found, _): &&(&str, Option<&str>)| found.eq_ignore_ascii_case(name);
        self.0.iter().find(named)?.1?.parse().ok()
    }

    fn forbids(&self) -> bool {
        ["private", "no-store", "no-cache"].into_iter().any(|name| self.has(name))
    }

    fn lifetime(&self) -> Option<u64> {
        self.seconds("s-maxage").or_else(|| self.seconds("max-age"))
    }
}

/// Seconds a zone in memory keeps a response: what is configured, or with `heeded` what the
/// upstream says. None keeps nothing.
pub fn in_memory(headers: &HeaderMap, configured: u64, heeded: bool, now_ms: u64) -> Option<u64> {
    let directives = Directives::of(headers);
    if directives.forbids() {
        return None;
    }
    if !heeded {
        return Some(configured);
    }
    directives.lifetime().or_else(|| expires(headers, now_ms)).filter(|seconds| *seconds > 0)
}

/// Seconds a zone on disk keeps a response, by nginx's rules: what the upstream says, or else what
/// the gateway is configured with. None keeps nothing.
pub fn on_disk(headers: &HeaderMap, default: u64, now_ms: u64) -> Option<u64> {
    let directives = Directives::of(headers);
    let seconds = match accelerated(headers, now_ms) {
        Some(lifetime) => lifetime,
        None if directives.forbids() => return None,
        None => directives.lifetime().or_else(|| expires(headers, now_ms)).unwrap_or(default),
    };
    (seconds > 0).then_some(seconds)
}

/// `X-Accel-Expires`: seconds from now, or a time of the Unix clock behind `@`.
fn accelerated(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = headers.get(X_ACCEL_EXPIRES)?.to_str().ok()?.trim();
    match text.strip_prefix('@') {
        None => text.parse().ok(),
        Some(time) => time.parse::<u64>().ok().map(|time| time.saturating_sub(now_ms / 1000)),
    }
}

/// `Expires`. A time that cannot be read is in the past.
fn expires(headers: &HeaderMap, now_ms: u64) -> Option<u64> {
    let text = headers.get(header::EXPIRES)?.to_str().unwrap_or("");
    let time = rfc2822::parse(text).map_or(0, |time| time.timestamp().as_second());
    Some(u64::try_from(time).unwrap_or(0).saturating_sub(now_ms / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thursday, 1 January 1970, 00:16:40.
    const NOW: u64 = 1_000_000;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), value.parse().unwrap())
        };
        lines.iter().map(parse).collect()
    }

    #[test]
    fn memory_keeps_by_configuration_or_by_what_the_upstream_says() {
        for (lines, plain, heeded) in [
            (&[][..], Some(300), None),
            (&[("cache-control", "max-age=60")], Some(300), Some(60)),
            (&[("cache-control", "max-age=60, S-Maxage=\"7\"")], Some(300), Some(7)),
            (&[("cache-control", "max-age=0")], Some(300), None),
            (&[("cache-control", "public, No-Store")], None, None),
            (&[("cache-control", "private")], None, None),
            (&[("cache-control", "no-cache")], None, None),
            (&[("expires", "Thu, 01 Jan 1970 00:17:40 GMT")], Some(300), Some(60)),
            (&[("expires", "0")], Some(300), None),
        ] {
            assert_eq!(in_memory(&headers(lines), 300, false, NOW), plain, "{lines:?}");
            assert_eq!(in_memory(&headers(lines), 300, true, NOW), heeded, "{lines:?}");
        }
    }

    #[test]
    fn disk_keeps_by_the_rules_of_nginx() {
        for (lines, expected) in [
            (&[][..], Some(10)),
            (&[("cache-control", "public")], Some(10)),
            (&[("cache-control", "max-age=60")], Some(60)),
            (&[("cache-control", "max-age=0")], None),
            (&[("cache-control", "no-store")], None),
            (&[("cache-control", "no-cache"), ("x-accel-expires", "5")], Some(5)),
            (&[("x-accel-expires", "0")], None),
            (&[("x-accel-expires", "@1030")], Some(30)),
            (&[("expires", "Thu, 01 Jan 1970 00:17:40 GMT")], Some(60)),
            (&[("expires", "Thu, 01 Jan 1970 00:10:00 GMT")], None),
        ] {
            assert_eq!(on_disk(&headers(lines), 10, NOW), expected, "{lines:?}");
        }
    }
}
