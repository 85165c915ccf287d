//! Paths as routes see them: decoded once, dot segments resolved, slashes merged, as nginx's `$uri`.
//!
//! What goes to the upstream is the path as it came, not this one.

use std::borrow::Cow;

/// A path nginx would answer with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("the path does not start with a slash")]
    NoSlash,
    #[error("a percent sign is not followed by two hexadecimal digits")]
    Escape,
    #[error("the path holds a null byte")]
    Null,
    #[error("the path leads above the root")]
    AboveRoot,
}

/// Normalises the path of a request target; a query, if there is one, is cut off.
///
/// An empty path is `/`. Bytes that are not UTF-8 after decoding become U+FFFD, so that two paths
/// may look the same here; they never do to the upstream.
///
/// Borrows when there is nothing to do, which is the common case.
pub fn normalize(target: &str) -> Result<Cow<'_, str>, Malformed> {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    if path.is_empty() {
        return Ok(Cow::Borrowed("/"));
    }
    if !path.starts_with('/') {
        return Err(Malformed::NoSlash);
    }
    if is_normal(path.as_bytes()) {
        return Ok(Cow::Borrowed(path));
    }
    let mut output = Output { bytes: Vec::with_capacity(path.len()) };
    let mut input = path.bytes();
    while let Some(byte) = input.next() {
        match byte {
            b'%' => output.push_decoded(decode(&mut input)?)?,
            0 => return Err(Malformed::Null),
            _ => output.push(byte)?,
        }
    }
    output.finish()
}

/// Nothing to decode, to merge or to resolve. Dots count only after a slash.
fn is_normal(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let fine = match byte {
            b'%' | 0 => false,
            b'/' | b'.' => previous != b'/',
            _ => true,
        };
        previous = byte;
        fine
    })
}

fn decode(input: &mut std::str::Bytes<'_>) -> Result<u8, Malformed> {
    let mut digit = || {
        let digit = input.next().and_then(|byte| char::from(byte).to_digit(16));
        digit.and_then(|digit| u8::try_from(digit).ok()).ok_or(Malformed::Escape)
    };
    let (high, low) = (digit()?, digit()?);
    Ok(high << 4 | low)
}

/// The path so far. A segment is resolved when the slash after it, or the end, is reached.
struct Output {
    bytes: Vec<u8>,
}

impl Output {
    /// An encoded slash separates and an encoded dot is a dot, as in nginx.
    fn push_decoded(&mut self, byte: u8) -> Result<(), Malformed> {
        if byte == 0 { Err(Malformed::Null) } else { self.push(byte) }
    }

    fn push(&mut self, byte: u8) -> Result<(), Malformed> {
        if byte != b'/' {
            self.bytes.push(byte);
            return Ok(());
        }
        self.resolve()?;
        if self.bytes.last() != Some(&b'/') {
            self.bytes.push(b'/');
        }
        Ok(())
    }

    /// Drops a last segment `.`, and `..` together with the one before it.
    fn resolve(&mut self) -> Result<(), Malformed> {
        if self.bytes.ends_with(b"/.") {
            self.bytes.pop();
        } else if self.bytes.ends_with(b"/..") {
            self.bytes.truncate(self.bytes.len() - 3);
            let parent = self.bytes.iter().rposition(|&byte| byte == b'/');
            self.bytes.truncate(parent.ok_or(Malformed::AboveRoot)? + 1);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Cow<'static, str>, Malformed> {
        self.resolve()?;
        Ok(Cow::Owned(match String::from_utf8(self.bytes) {
            Ok(path) => path,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn becomes(path: &str, expected: &str) {
        assert_eq!(normalize(path).as_deref(), Ok(expected), "{path}");
    }

    #[test]
    fn normal_paths_are_borrowed() {
        for path in ["/", "/a/b.c/d..", "/a/", "/~x/;y=1/é"] {
            assert!(matches!(normalize(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn slashes_are_merged_and_dots_resolved() {
        becomes("//a///b", "/a/b");
        becomes("/a/./b/../c", "/a/c");
        becomes("/a/.", "/a/");
        becomes("/a/..", "/");
        becomes("/a/b/..", "/a/");
        becomes("/a//../b", "/b");
        becomes("/.a/..b/...", "/.a/..b/...");
    }

    #[test]
    fn escapes_are_decoded_once() {
        becomes("/a%20b", "/a b");
        becomes("/a%2Fb", "/a/b");
        becomes("/a/%2e%2E/b", "/b");
        becomes("/a%252Fb", "/a%2Fb");
        becomes("/a%3Fb%23c", "/a?b#c");
        becomes("/%ff", "/\u{fffd}");
        becomes("/%C3%A9", "/é");
    }

    #[test]
    fn queries_and_fragments_are_cut_off() {
        becomes("/a?b=/../c", "/a");
        becomes("/a/..?x", "/");
        becomes("/a#b", "/a");
        becomes("?a", "/");
        becomes("", "/");
    }

    #[test]
    fn what_nginx_refuses_is_refused() {
        assert_eq!(normalize("*"), Err(Malformed::NoSlash));
        assert_eq!(normalize("/%"), Err(Malformed::Escape));
        assert_eq!(normalize("/%4"), Err(Malformed::Escape));
        assert_eq!(normalize("/%zz"), Err(Malformed::Escape));
        assert_eq!(normalize("/a%00b"), Err(Malformed::Null));
        assert_eq!(normalize("/.."), Err(Malformed::AboveRoot));
        assert_eq!(normalize("/a/../../b"), Err(Malformed::AboveRoot));
    }
}
