//! Paths that a gateway would never match, because it compares them decoded and normalised.

use gantry_model::config::{ApiPath, PathType};

use super::Report;
use crate::path::{REGEX_SPECIAL, is_catch_all, pattern};

/// Longest pattern a gateway takes, in bytes.
const PATTERN_MAX: usize = 4096;

/// The path prefix of an application.
pub fn check_prefix(report: &mut Report, prefix: &str) {
    if !prefix.starts_with('/') {
        report.broken("path_prefix", "must start with `/`", r#""/api""#);
    }
    if prefix.contains('*') {
        report.broken("path_prefix", "must not hold `*`", r#""/api""#);
    }
    if let Some(rule) = unmatchable(prefix) {
        report.broken("path_prefix", rule, r#""/api""#);
    }
}

/// One path of an API below a trimmed prefix.
pub fn check_path(report: &mut Report, field: &str, prefix: &str, path: &ApiPath) {
    if is_catch_all(&path.path) {
        return check_star_segment(report, field, prefix);
    }
    if path.path.contains('*') {
        let rule = "must not hold `*`, which path type `Prefix` stands for; \
                    a path that is only `*` matches all below the prefix";
        report.broken(field, rule, r#""/orders/""#);
    }
    if let Some(rule) = unmatchable(&path.path) {
        report.broken(field, rule, r#""/orders""#);
    }
    let full = pattern(prefix, path);
    if full.len() > PATTERN_MAX {
        let rule = format!("must not be longer than {PATTERN_MAX} bytes with the path prefix");
        report.broken(field, rule, r#""/orders""#);
    }
    if path.path_type == PathType::Prefix && full.ends_with("/*") {
        check_star_segment(report, field, full.trim_end_matches('*'));
    }
}

/// Gateways make a regular expression of a pattern with a star right after a slash, and do not quote
/// the rest of it.
fn check_star_segment(report: &mut Report, field: &str, literal: &str) {
    let special = |letter| letter != '.' && REGEX_SPECIAL.contains(letter);
    if let Some(letter) = literal.chars().find(|letter| special(*letter)) {
        let rule =
            format!("must not end in `/` behind a path with `{letter}`, it would never match");
        report.broken(field, rule, r#""/orders/""#);
    }
}

/// Why a path never equals a decoded, normalised one.
fn unmatchable(path: &str) -> Option<&'static str> {
    let bytes = path.as_bytes();
    let encoded = bytes.windows(3).any(|three| {
        three[0] == b'%' && three[1].is_ascii_hexdigit() && three[2].is_ascii_hexdigit()
    });
    if encoded {
        Some("must be written decoded, without percent signs before hexadecimal digits")
    } else if path.contains("//") {
        Some("must not hold `//`, gateways merge slashes before they compare")
    } else if path.split('/').any(|segment| matches!(segment, "." | "..")) {
        Some("must not hold the segments `.` and `..`, gateways resolve them before they compare")
    } else if path.contains(['?', '#']) {
        Some("must not hold `?` and `#`, a query is no part of the path")
    } else if path.chars().any(char::is_control) {
        Some("must not hold control characters")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(prefix: &str, path: &str, path_type: PathType) -> usize {
        let mut report = Report::default();
        let path = ApiPath { path: path.into(), path_type };
        check_path(&mut report, "paths[0].path", prefix, &path);
        report.0.len()
    }

    #[test]
    fn what_never_matches_is_refused() {
        for good in ["", "/", "v1", "/v1", "/a.b/", "*", "/c++", "/über uns", "/100%"] {
            assert_eq!(rules("/api", good, PathType::Prefix), 0, "{good}");
        }
        for bad in ["/a*", "/a//b", "/a/../b", "/a%20b", "/a?b=1", "/c++/", "/a\n"] {
            assert_eq!(rules("/api", bad, PathType::Prefix), 1, "{bad}");
        }
        assert_eq!(rules("/api", "/c++/", PathType::Exact), 0);
        assert_eq!(rules("/c++", "*", PathType::Exact), 1);
        assert_eq!(rules("", &"/a".repeat(2048), PathType::Prefix), 1);
    }
}
