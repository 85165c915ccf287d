//! Regular expressions of configurations: PCRE as far as fancy-regex goes, with bounded work.

use fancy_regex::{Regex, RegexBuilder};

/// Steps of backtracking a single match may take; a pattern that needs more counts as no match. At
/// some 10 ns a step this is a millisecond, the most a request should lose to a bad pattern.
const BACKTRACK_MAX: usize = 100_000;

/// Bytes a compiled pattern may take.
const SIZE_MAX: usize = 1 << 20;

/// Compiles a pattern. The error is a sentence that names it.
pub fn compile(pattern: &str, ignore_case: bool) -> Result<Regex, String> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .backtrack_limit(BACKTRACK_MAX)
        .delegate_size_limit(SIZE_MAX)
        .build()
        .map_err(|error| format!("the regular expression `{pattern}` does not compile: {error}"))
}

/// Whether the pattern is found anywhere in the text. Giving up counts as no.
pub(crate) fn is_match(regex: &Regex, text: &str) -> bool {
    regex.is_match(text).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_use_what_pcre_offers() {
        let regex = compile(r"^(?!admin)(?<name>\w++)/x$", false).unwrap();
        assert!(is_match(&regex, "user/x"));
        assert!(!is_match(&regex, "admin/x"));
        assert!(is_match(&compile("^ab", true).unwrap(), "ABC"));
    }

    #[test]
    fn errors_name_the_pattern() {
        let error = compile("a(b", false).unwrap_err();
        assert!(error.starts_with("the regular expression `a(b` does not compile"), "{error}");
    }

    #[test]
    fn a_pattern_that_explodes_gives_up() {
        let regex = compile(r"^(?=(a+)+$)b", false).unwrap();
        assert!(!is_match(&regex, &format!("{}!", "a".repeat(5000))));
    }
}
