//! Prometheus' text format, as far as gateways use it: one sample a line. Lines of other families
//! are skipped unread; lines that break the format or a limit are left out and counted.

use std::borrow::Cow;

use crate::key::{INSTANCE, NAME};
use crate::report::Sample;

/// Counters that are kept (facts §2.3); `apisix_http_latency` is the histogram's parts.
const COUNTERS: [&str; 5] = [
    "apisix_http_status",
    "apisix_bandwidth",
    "apisix_http_latency_sum",
    "apisix_http_latency_count",
    "apisix_http_latency_bucket",
];
/// The gauge that is kept.
const GAUGE: &str = "apisix_nginx_http_current_connections";

/// Whether a series of this name only grows.
#[must_use]
pub(crate) fn is_counter(name: &str) -> bool {
    name != GAUGE
}

/// Labels of one series; APISIX has up to a dozen.
const LABELS_MAX: usize = 32;
/// Bytes of a label's value: a matched path is the longest.
const VALUE_BYTES_MAX: usize = 1024;
/// Bytes of a label's name.
const NAME_BYTES_MAX: usize = 64;

/// What a text holds.
#[derive(Debug, Default, PartialEq)]
pub struct Parsed<'a> {
    pub samples: Vec<Sample<'a>>,
    /// Lines of our families that could not be used.
    pub refused: usize,
}

/// Reads a report's text.
#[must_use]
pub fn parse(text: &str) -> Parsed<'_> {
    let mut parsed = Parsed::default();
    for line in text.lines() {
        let line = line.trim();
        let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace()).unwrap_or(line.len());
        let (name, rest) = line.split_at(end);
        let is_counter = COUNTERS.contains(&name);
        if !is_counter && name != GAUGE {
            continue;
        }
        match sample(rest) {
            Some((labels, value)) => {
                parsed.samples.push(Sample { name, labels, value, is_counter });
            }
            None => parsed.refused += 1,
        }
    }
    parsed
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Labels and value; a time after the value is not ours to believe and is ignored.
fn sample(rest: &str) -> Option<(Labels<'_>, f64)> {
    let rest = rest.trim_start();
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value: f64 = words.next()?.parse().ok()?;
    let time_is_whole = words.next().is_none_or(|time| time.parse::<i64>().is_ok());
    // Counters and connections are never NaN, infinite or negative.
    let usable = value.is_finite() && value >= 0.0 && time_is_whole && words.next().is_none();
    usable.then_some((labels, value))
}

fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels: Labels<'_> = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_end();
        let (value, after) = quoted(after.trim_start().strip_prefix('"')?)?;
        let is_new = labels.iter().all(|(other, _)| *other != name);
        if !is_label_name(name) || !is_new || labels.len() >= LABELS_MAX {
            return None;
        }
        if value.len() > VALUE_BYTES_MAX {
            return None;
        }
        labels.push((name, value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(after) => after,
            None => rest.starts_with('}').then_some(rest)?,
        };
    }
}

/// Text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    let (plain, after) = text.split_at(end);
    if let Some(after) = after.strip_prefix('"') {
        return Some((Cow::Borrowed(plain), after));
    }
    let mut value = String::from(plain);
    let mut chars = after.char_indices();
    while let Some((position, c)) = chars.next() {
        match c {
            '"' => return Some((Cow::Owned(value), after.get(position + 1..)?)),
            '\\' => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            c => value.push(c),
        }
    }
    None
}

fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= NAME_BYTES_MAX
        && ![NAME, INSTANCE].contains(&name)
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn one(line: &str) -> Option<(Vec<(String, String)>, f64)> {
        let mut parsed = parse(line);
        let sample = parsed.samples.pop()?;
        let own = |(name, value): &(&str, Cow<'_, str>)| ((*name).to_owned(), value.to_string());
        Some((sample.labels.iter().map(own).collect(), sample.value))
    }

    #[test]
    fn samples_of_the_four_families_are_kept() {
        let text = "# HELP apisix_http_status x\n# TYPE apisix_http_status counter\n\
            apisix_http_status{code=\"200\",route=\"r\\\"1\\\\\\n\"} 2\n\
            apisix_http_requests_total 7\napisix_http_statuses{a=\"b\"} 1\n\
            apisix_nginx_http_current_connections{state=\"active\",} 3 1700000000000\n\
            apisix_http_latency_bucket{le=\"+Inf\"} 1e3\nup 1\napisix_bandwidth 5";
        let parsed = parse(text);
        assert_eq!(parsed.refused, 0);
        let found: Vec<_> =
            parsed.samples.iter().map(|one| (one.name, one.value, one.is_counter)).collect();
        assert_eq!(
            found,
            [
                ("apisix_http_status", 2.0, true),
                (GAUGE, 3.0, false),
                ("apisix_http_latency_bucket", 1000.0, true),
                ("apisix_bandwidth", 5.0, true),
            ]
        );
        assert_eq!(parsed.samples[0].labels[1], ("route", Cow::Borrowed("r\"1\\\n")));
    }

    #[test]
    fn what_breaks_the_format_or_a_limit_is_refused() {
        let long = format!("{{a=\"{}\"}} 1", "x".repeat(VALUE_BYTES_MAX + 1));
        let many = (0..=LABELS_MAX).map(|i| format!("l{i}=\"x\"")).collect::<Vec<_>>().join(",");
        let many = format!("{{{many}}} 1");
        for rest in [
            "",
            " ",
            "{",
            "{a} 1",
            "{a=b} 1",
            "{a=\"b\" 1",
            "{a=\"b\"}",
            "{a=\"b\"} x",
            "{a=\"b\"} 1 2 3",
            "{a=\"b\"} 1 x",
            "{a=\"\\x\"} 1",
            "{a=\"b\"c=\"d\"} 1",
            "{a=\"b\",a=\"c\"} 1",
            "{1a=\"b\"} 1",
            "{instance=\"b\"} 1",
            "{__name__=\"b\"} 1",
            " NaN",
            " +Inf",
            " -1",
            &long,
            &many,
        ] {
            let line = format!("apisix_http_status{rest}");
            assert_eq!(one(&line), None, "{line}");
            assert_eq!(parse(&line).refused, 1, "{line}");
        }
        assert_eq!(
            one("apisix_http_status{ a = \"b\" , } 1"),
            Some((vec![("a".into(), "b".into())], 1.0))
        );
    }

    proptest! {
        #[test]
        fn any_label_value_comes_back(value in "[^\u{0}]{0,40}") {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // Lines end at line feeds only, which are escaped; a carriage return before one is text.
            let line = format!("apisix_http_status{{a=\"{escaped}\"}} 1");
            prop_assert_eq!(one(&line), Some((vec![("a".into(), value)], 1.0)));
        }

        #[test]
        fn any_text_is_survived(text in "(apisix_http_status)?[ -~]{0,60}") {
            let _ = parse(&text);
        }
    }
}
