//! Path patterns: an application's prefix and an API's path become what a route matches.

use gantry_model::config::{ApiPath, PathType};

/// A path prefix without the slash at its end; empty for `/`.
pub fn trimmed(prefix: &str) -> &str {
    prefix.strip_suffix('/').unwrap_or(prefix)
}

/// Whether an API's path means everything below the prefix; clients write `*` for it.
pub fn is_catch_all(path: &str) -> bool {
    matches!(path, "*" | "/*")
}

/// The pattern of one path below a trimmed prefix: literal, or a literal prefix with a star behind.
pub fn pattern(prefix: &str, path: &ApiPath) -> String {
    if is_catch_all(&path.path) {
        return format!("{prefix}/*");
    }
    let slash = if path.path.is_empty() || path.path.starts_with('/') { "" } else { "/" };
    let mut full = format!("{prefix}{slash}{}", path.path);
    if full.is_empty() {
        full.push('/');
    }
    if path.path_type == PathType::Prefix {
        full.push('*');
    }
    full
}

/// The patterns of several paths, each once, in the order given.
pub fn patterns(prefix: &str, paths: &[ApiPath]) -> Vec<String> {
    let mut patterns: Vec<String> = Vec::with_capacity(paths.len());
    for pattern in paths.iter().map(|path| pattern(prefix, path)) {
        if !patterns.contains(&pattern) {
            patterns.push(pattern);
        }
    }
    patterns
}

/// Characters with a meaning in regular expressions.
pub const REGEX_SPECIAL: &str = r"\^$.|?*+()[]{}";

/// A regular expression that takes a prefix off: the rest of the path is its first group.
pub fn strip_regex(prefix: &str) -> String {
    format!("(?s)^{}(?:/(.*))?$", quoted(prefix))
}

/// A text that a regular expression takes literally.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for letter in text.chars() {
        if REGEX_SPECIAL.contains(letter) {
            quoted.push('\\');
        }
        quoted.push(letter);
    }
    quoted
}
