//! Matching written straight from the rules, slow and obvious.

use std::cmp::Reverse;

/// A route in one place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub host: Option<String>,
    pub pattern: String,
    pub id: String,
    pub priority: i64,
    /// What stands for methods, addresses and variables.
    pub is_accepted: bool,
}

/// How well a host pattern fits; larger is better.
fn host_rank(pattern: Option<&str>, host: &str) -> Option<(bool, usize)> {
    let host = host.to_ascii_lowercase();
    match pattern {
        None => Some((false, 0)),
        Some(pattern) => match pattern.strip_prefix('*') {
            // A lone star goes before no host at all.
            Some(suffix) => host.ends_with(suffix).then_some((false, suffix.len() + 1)),
            None => (pattern == host).then_some((true, 0)),
        },
    }
}

fn path_rank(pattern: &str, path: &str) -> Option<(bool, usize)> {
    let Some(star) = pattern.find('*') else {
        return (pattern == path).then_some((true, 0));
    };
    let fits = path.starts_with(&pattern[..star]) && fits_segments(pattern, path);
    fits.then_some((false, star))
}

/// Segments that start with a star stand for anything; only checked if there is one.
fn fits_segments(pattern: &str, path: &str) -> bool {
    if !pattern.split('/').any(|segment| segment.starts_with('*')) {
        return true;
    }
    let pieces: Vec<&str> = pattern
        .split('/')
        .map(|segment| if segment.starts_with('*') { "*" } else { segment })
        .collect();
    glob(pieces.join("/").as_bytes(), path.as_bytes())
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|at| glob(rest, &text[at..])),
        Some((byte, rest)) => text.first() == Some(byte) && glob(rest, &text[1..]),
    }
}

/// The id of the route that a request finds.
pub fn find<'a>(routes: &'a [Placed], host: &str, path: &str) -> Option<&'a str> {
    let candidates = routes.iter().filter(|route| route.is_accepted).filter_map(|route| {
        let host = host_rank(route.host.as_deref(), host)?;
        let path = path_rank(&route.pattern, path)?;
        Some((Reverse((host, path, route.priority, route.pattern.len())), route.id.as_str()))
    });
    candidates.min().map(|(_, id)| id)
}
