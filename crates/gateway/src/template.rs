//! Texts with variables in them: `$name`, `${name}` and `${name ?? fallback}`.

use gantry_routing::vars::Vars;

/// Fills the variables in; those that are absent leave nothing.
#[must_use]
pub fn resolve(template: &str, vars: &dyn Vars) -> String {
    fill(template, vars).0
}

/// Like [`resolve`], but None unless at least one variable had a value.
#[must_use]
pub fn resolve_some(template: &str, vars: &dyn Vars) -> Option<String> {
    let (text, found) = fill(template, vars);
    (found > 0).then_some(text)
}

fn fill(template: &str, vars: &dyn Vars) -> (String, usize) {
    let mut output = String::with_capacity(template.len());
    let mut found = 0;
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        output.push_str(before);
        let Some(Reference { name, fallback, length }) =
            reference(after).filter(|_| !before.ends_with('\\'))
        else {
            output.push('$');
            rest = after;
            continue;
        };
        let value = vars.var(name);
        let text = value.as_ref().and_then(|value| value.text());
        found += usize::from(text.is_some() || fallback.is_some());
        output.push_str(text.as_deref().or(fallback).unwrap_or(""));
        rest = after.get(length..).unwrap_or("");
    }
    output.push_str(rest);
    (output, found)
}

struct Reference<'a> {
    name: &'a str,
    fallback: Option<&'a str>,
    /// Bytes behind the dollar sign.
    length: usize,
}

fn reference(text: &str) -> Option<Reference<'_>> {
    if let Some(braced) = text.strip_prefix('{') {
        let (inside, _) = braced.split_once('}')?;
        let (name, fallback) = match inside.split_once("??") {
            Some((name, fallback)) => (name.trim(), Some(fallback.trim())),
            None => (inside.trim(), None),
        };
        return is_name(name).then_some(Reference { name, fallback, length: inside.len() + 2 });
    }
    let length = text.find(|letter: char| !is_letter(letter)).unwrap_or(text.len());
    let name = text.get(..length)?;
    is_name(name).then_some(Reference { name, fallback: None, length })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_letter)
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == '.'
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_routing::vars::Var;

    struct Two;

    impl Vars for Two {
        fn var(&self, name: &str) -> Option<Var<'_>> {
            match name {
                "a" => Some(Var::from("1")),
                "b.c" => Some(Var::Number(2.0)),
                _ => None,
            }
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (template, expected) in [
            ("x$a-${a}y", "x1-1y"),
            ("$b.c/${ b.c }", "2/2"),
            ("${none ?? other}$none", "other"),
            (r"\$a $", r"\$a $"),
            ("${a", "${a"),
        ] {
            assert_eq!(resolve(template, &Two), expected, "{template}");
        }
    }

    #[test]
    fn a_template_without_any_value_is_none() {
        assert_eq!(resolve_some("$none-", &Two), None);
        assert_eq!(resolve_some("${none ?? x}", &Two), Some("x".to_owned()));
    }
}
