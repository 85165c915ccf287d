//! Regular expressions with a replacement, as `ngx.re.sub` runs them: unanchored, `$1` and
//! `${1}` stand for groups, `$0` for the whole match, `$$` for a dollar sign.

use fancy_regex::{Captures, Regex};
use gantry_routing::regex;

/// A pattern and what its matches become.
#[derive(Debug, Clone)]
pub struct Substitution {
    pattern: Regex,
    replacement: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Group(usize),
}

impl Substitution {
    /// Compiles a pattern and its replacement. `options` are PCRE's letters; those that only tune
    /// its engine (`j`, `o`) mean nothing here.
    pub fn new(pattern: &str, replacement: &str, options: &str) -> Result<Self, String> {
        let flags: String = options.chars().filter(|flag| "msx".contains(*flag)).collect();
        let flagged = format!("(?{flags}){pattern}");
        let text = if flags.is_empty() { pattern } else { &flagged };
        let pattern = regex::compile(text, options.contains('i'))?;
        Ok(Self { pattern, replacement: parse(replacement) })
    }

    /// The groups of the first match, or None. Fails if the search gave up.
    pub fn captures<'a>(&self, text: &'a str) -> Result<Option<Captures<'a, str>>, String> {
        self.pattern.captures(text).map_err(|error| error.to_string())
    }

    /// The text with this match of it replaced.
    #[must_use]
    pub fn replace(&self, text: &str, captures: &Captures<'_, str>) -> String {
        let mut out = String::with_capacity(text.len());
        let end = self.splice(text, 0, captures, &mut out);
        out.push_str(text.get(end..).unwrap_or(""));
        out
    }

    /// The text with its first match replaced, or None without a match.
    pub fn first(&self, text: &str) -> Result<Option<String>, String> {
        Ok(self.captures(text)?.map(|captures| self.replace(text, &captures)))
    }

    /// The text with every match replaced.
    pub fn all(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut end = 0;
        for captures in self.pattern.captures_iter(text) {
            let captures = captures.map_err(|error| error.to_string())?;
            end = self.splice(text, end, &captures, &mut out);
        }
        out.push_str(text.get(end..).unwrap_or(""));
        Ok(out)
    }

    /// Appends what stands between `start` and the match, then the replacement. Answers where
    /// the match ends.
    fn splice(
        &self,
        text: &str,
        start: usize,
        captures: &Captures<'_, str>,
        out: &mut String,
    ) -> usize {
        let Some(whole) = captures.get(0) else { return start };
        out.push_str(text.get(start..whole.start()).unwrap_or(""));
        for part in &self.replacement {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Group(group) => {
                    out.push_str(captures.get(*group).map_or("", |group| group.as_str()));
                }
            }
        }
        whole.end()
    }
}

fn parse(replacement: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = replacement;
    while let Some((before, tail)) = rest.split_once('$') {
        text.push_str(before);
        let (braces, digits) = match tail.strip_prefix('{') {
            Some(inner) => (2, inner.split('}').next().unwrap_or("")),
            None => (0, tail.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("")),
        };
        let closed =
            braces == 0 || tail.get(digits.len() + 1..).is_some_and(|t| t.starts_with('}'));
        match digits.parse() {
            Ok(group) if closed => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group));
                rest = tail.get(digits.len() + braces..).unwrap_or("");
            }
            _ => {
                text.push('$');
                rest = tail.strip_prefix('$').unwrap_or(tail);
            }
        }
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(pattern: &str, replacement: &str, text: &str) -> Option<String> {
        Substitution::new(pattern, replacement, "jo").unwrap().first(text).unwrap()
    }

    #[test]
    fn groups_are_put_into_the_replacement() {
        let out = first("^/iresty/(.*)/(.*)", "/$1-${2}/$0$$", "/iresty/a/b");
        assert_eq!(out.as_deref(), Some("/a-b//iresty/a/b$"));
        assert_eq!(first("^/a(x)?", "/[$1$9]", "/a").as_deref(), Some("/[]"));
    }

    #[test]
    fn only_what_matched_is_replaced_and_only_once() {
        assert_eq!(first("b", "x", "abcb").as_deref(), Some("axcb"));
        assert_eq!(first("z", "x", "abc"), None);
        let all = Substitution::new("b", "x", "").unwrap();
        assert_eq!(all.all("abcb").unwrap(), "axcx");
    }

    #[test]
    fn what_is_no_group_stays_as_it_is() {
        assert_eq!(first("a", "$ ${1 ${x} $b", "a").as_deref(), Some("$ ${1 ${x} $b"));
    }

    #[test]
    fn options_and_look_around_work() {
        let sub = Substitution::new("(?<=x)Y", "-", "ijo").unwrap();
        assert_eq!(sub.first("xy").unwrap().as_deref(), Some("x-"));
    }

    #[test]
    fn a_pattern_that_does_not_compile_is_named() {
        let error = Substitution::new("(", "", "").unwrap_err();
        assert!(error.starts_with("the regular expression `(` does not compile"), "{error}");
    }

    #[test]
    fn a_pattern_that_explodes_gives_up() {
        let evil = Substitution::new(r"^(a|a|b\1)*$", "", "").unwrap();
        assert!(evil.first(&format!("{}c", "a".repeat(40))).is_err());
    }
}
