//! Texts with variables in them: `$name`, `${name}`, `${name ?? fallback}`. Parsed when the
//! configuration arrives, rendered per request. `\$` is left alone, as APISIX does.

use std::borrow::Cow;

use gantry_routing::vars::Vars;

/// A text whose variables are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable { name: String, fallback: Option<String> },
}

/// Which characters may belong to a name that stands without braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Word characters and dots: `$uri.bak` asks for a variable called `uri.bak`.
    Dotted,
    /// Word characters only, as in the redirect plugin.
    Plain,
    /// As `Dotted`, but a name of digits is a capture and ends with its last digit.
    Captures,
}

/// What a template consists of once its variables have values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Written in the configuration, fallbacks too.
    Literal(&'a str),
    /// Taken from the request.
    Value(&'a str),
}

impl Template {
    /// Parses a text. Never fails: what is no variable is text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::with_names(text, Names::Dotted)
    }

    /// Parses a text with other rules for bare names.
    #[must_use]
    pub fn with_names(text: &str, names: Names) -> Self {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            let (before, tail) = rest.split_at(at);
            literal.push_str(before);
            match variable(tail, names).filter(|_| !literal.ends_with('\\')) {
                Some((part, length)) => {
                    if !literal.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut literal)));
                    }
                    parts.push(part);
                    rest = tail.get(length..).unwrap_or("");
                }
                None => {
                    literal.push('$');
                    rest = tail.get(1..).unwrap_or("");
                }
            }
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Self { parts }
    }

    /// The whole text, if it has no variables.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text for this request. Allocates only if there are variables.
    pub fn render(&self, vars: &dyn Vars) -> Cow<'_, str> {
        if let Some(text) = self.fixed() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(64);
        self.append(vars, &mut out);
        Cow::Owned(out)
    }

    /// Appends the text for this request and says how many variables had a value or a fallback.
    pub fn append(&self, vars: &dyn Vars, out: &mut String) -> usize {
        self.each(vars, |piece| match piece {
            Piece::Literal(text) | Piece::Value(text) => out.push_str(text),
        })
    }

    /// Hands out the pieces in order; a variable without value and fallback is left out.
    /// Answers how many variables were resolved.
    pub fn each(&self, vars: &dyn Vars, mut sink: impl FnMut(Piece<'_>)) -> usize {
        let mut resolved = 0;
        for part in &self.parts {
            match part {
                Part::Text(text) => sink(Piece::Literal(text)),
                Part::Variable { name, fallback } => match (vars.var(name), fallback) {
                    (Some(value), _) => {
                        resolved += 1;
                        sink(Piece::Value(&value.text().unwrap_or_default()));
                    }
                    (None, Some(text)) => {
                        resolved += 1;
                        sink(Piece::Literal(text));
                    }
                    (None, None) => {}
                },
            }
        }
        resolved
    }
}

/// The variable at the start of `text`, which begins with `$`, and how many bytes it takes.
fn variable(text: &str, names: Names) -> Option<(Part, usize)> {
    let rest = text.get(1..)?;
    if let Some(inner) = rest.strip_prefix('{') {
        let end = inner.find('}')?;
        let content = inner.get(..end)?;
        let (name, fallback) = match content.split_once("??") {
            Some((name, fallback)) => (name.trim(), Some(fallback.trim().to_owned())),
            None => (content.trim(), None),
        };
        let dotted = !name.is_empty() && name.chars().all(|c| is_word(c) || c == '.');
        let part = Part::Variable { name: name.to_owned(), fallback };
        return dotted.then_some((part, end + 3));
    }
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let length = match names {
        Names::Captures if digits > 0 => digits,
        Names::Plain => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        _ => rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len()),
    };
    let name = rest.get(..length).filter(|name| !name.is_empty())?;
    Some((Part::Variable { name: name.to_owned(), fallback: None }, length + 1))
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use gantry_routing::vars::Var;

    use super::*;

    struct Fixed;

    impl Vars for Fixed {
        fn var(&self, name: &str) -> Option<Var<'_>> {
            match name {
                "host" => Some(Var::Text("example.com".into())),
                "uri.bak" => Some(Var::Text("dotted".into())),
                "uri" => Some(Var::Text("/a".into())),
                "port" => Some(Var::Number(80.0)),
                "arg_flag" => Some(Var::Flag(true)),
                "empty" => Some(Var::Text("".into())),
                "1" => Some(Var::Text("one".into())),
                _ => None,
            }
        }
    }

    fn rendered(text: &str) -> String {
        Template::new(text).render(&Fixed).into_owned()
    }

    #[test]
    fn variables_are_replaced_and_the_rest_stays() {
        assert_eq!(rendered("https://$host:${port}/x"), "https://example.com:80/x");
        assert_eq!(rendered("$uri.bak ${uri}.bak"), "dotted /a.bak");
        assert_eq!(rendered("$arg_flag-$empty-$absent"), "true--");
        assert_eq!(rendered("100$ $ {x} ${} ${a b} $"), "100$ $ {x} ${} ${a b} $");
    }

    #[test]
    fn a_fallback_stands_in_for_what_is_absent_only() {
        assert_eq!(rendered("${absent ?? nobody}"), "nobody");
        assert_eq!(rendered("${absent??}"), "");
        assert_eq!(rendered("${empty ?? nobody}"), "");
        let mut out = String::new();
        assert_eq!(Template::new("${absent ?? x}$host$absent").append(&Fixed, &mut out), 2);
    }

    #[test]
    fn an_escaped_dollar_keeps_its_backslash() {
        assert_eq!(rendered(r"\$host $host"), r"\$host example.com");
    }

    #[test]
    fn names_follow_the_rules_of_their_plugin() {
        let plain = Template::with_names("$uri.bak", Names::Plain);
        assert_eq!(plain.render(&Fixed), "/a.bak");
        let captures = Template::with_names("$1.html-$1st-$uri", Names::Captures);
        assert_eq!(captures.render(&Fixed), "one.html-onest-/a");
    }

    #[test]
    fn a_text_without_variables_is_borrowed() {
        assert!(matches!(Template::new("plain").render(&Fixed), Cow::Borrowed("plain")));
        assert_eq!(Template::new("").fixed(), Some(""));
    }
}
