//! Names and labels that the management API takes, made of texts that may be anything.

/// Longest name of applications and APIs, in characters (contract).
pub const NAME_MAX: usize = 64;

/// Longest label, and most labels of one object (contract).
const LABEL_MAX: usize = 32;
const LABELS_MAX: usize = 32;

/// The first `length` characters, without white space at the ends.
pub fn cut(text: &str, length: usize) -> String {
    text.trim().chars().take(length).collect::<String>().trim_end().to_owned()
}

/// `wanted`, cut to a name's length, or the first variant of it with a number that is not `taken`.
#[must_use]
pub fn free_name(wanted: &str, taken: impl Fn(&str) -> bool) -> String {
    let mut name = cut(wanted, NAME_MAX);
    let mut number = 2_u64;
    while taken(&name) {
        let suffix = format!(" {number}");
        name = cut(wanted, NAME_MAX - suffix.len()) + &suffix;
        number += 1;
    }
    name
}

/// Tags as labels: other letters become dashes, what is empty then goes.
pub fn labels<'a>(tags: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut labels: Vec<String> = Vec::new();
    for tag in tags {
        let valid = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let dashed: String = tag
            .split(|letter| !valid(letter))
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        let label = dashed.chars().take(LABEL_MAX).collect::<String>();
        let label = label.trim_end_matches('-').to_owned();
        if !label.is_empty() && !labels.contains(&label) && labels.len() < LABELS_MAX {
            labels.push(label);
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_and_numbered() {
        let long = "x".repeat(70);
        assert_eq!(free_name(&long, |_| false), "x".repeat(64));
        let first = "x".repeat(64);
        assert_eq!(free_name(&long, |name| name == first), "x".repeat(62) + " 2");
        let taken = ["a", "a 2"];
        assert_eq!(free_name(" a ", |name| taken.contains(&name)), "a 3");
    }

    #[test]
    fn tags_become_valid_labels() {
        let tags = ["Pets & Owners", "pets", "pets", "§", "a/b", "snake_case"];
        let expected = ["Pets-Owners", "pets", "a-b", "snake_case"];
        assert_eq!(labels(tags.into_iter()), expected);
        assert_eq!(labels(["x".repeat(40).as_str()].into_iter()), ["x".repeat(32)]);
    }
}
