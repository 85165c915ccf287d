//! What a GraphQL document asks for, as far as routing wants to know. Not a full parser: a document that
//! is not valid may have an answer here, and the upstream refuses it.

/// The first operation of a document.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// `query`, `mutation` or `subscription`.
    pub kind: String,
    /// Empty if it has none.
    pub name: String,
    /// The fields at the top, by their own names.
    pub fields: Vec<String>,
}

impl Operation {
    /// None if there is no operation in the text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let tokens = tokens(text);
        let mut rest = &*tokens;
        loop {
            let (first, after) = rest.split_first()?;
            match *first {
                "{" => return Some(Self { kind: "query".to_owned(), ..Self::fields(after) }),
                kind @ ("query" | "mutation" | "subscription") => {
                    let name = after.first().filter(|token| is_name(token)).copied();
                    let start = after.iter().position(|token| *token == "{")?;
                    let Self { fields, .. } = Self::fields(after.get(start + 1..)?);
                    let (kind, name) = (kind.to_owned(), name.unwrap_or("").to_owned());
                    return Some(Self { kind, name, fields });
                }
                // A fragment: the operation comes behind it.
                _ => {
                    let start = rest.iter().position(|token| *token == "{")?;
                    rest = skip(rest.get(start..)?);
                }
            }
        }
    }

    /// The fields of a selection whose brace was read.
    fn fields(mut rest: &[&str]) -> Self {
        let mut fields = Vec::new();
        while let Some((first, after)) = rest.split_first() {
            rest = match *first {
                "}" => break,
                "(" | "{" => skip(rest),
                // The name of a fragment or directive, or the type after `on`.
                "..." if after.first() == Some(&"on") => after.get(2..).unwrap_or_default(),
                "..." | "@" if after.first().is_some_and(|token| is_name(token)) => {
                    after.get(1..).unwrap_or_default()
                }
                // What stands before the colon is an alias.
                ":" => {
                    fields.pop();
                    after
                }
                name => {
                    if is_name(name) {
                        fields.push(name.to_owned());
                    }
                    after
                }
            };
        }
        Self { fields, ..Self::default() }
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic())
}

/// What follows the group that begins here.
fn skip<'t, 'a>(tokens: &'t [&'a str]) -> &'t [&'a str] {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate() {
        match *token {
            "(" | "{" | "[" => depth += 1,
            ")" | "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return tokens.get(place + 1..).unwrap_or_default();
        }
    }
    &[]
}

/// More of a document is not looked at; routing wants its beginning.
const TOKENS_MAX: usize = 10_000;

/// Names, numbers and marks; texts and comments are left out.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next().filter(|_| tokens.len() < TOKENS_MAX) {
        let length = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' => text_length(rest),
            '.' if rest.starts_with("...") => 3,
            c if c == '_' || c.is_alphanumeric() => {
                rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len())
            }
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if !matches!(first, '#' | '"' | ',' | '\u{feff}') && !first.is_whitespace() {
            tokens.push(token);
        }
        rest = after;
    }
    tokens
}

/// How far a text in quotes reaches.
fn text_length(text: &str) -> usize {
    let (quotes, from) = if text.starts_with("\"\"\"") { ("\"\"\"", 3) } else { ("\"", 1) };
    let mut place = from;
    while let Some(rest) = text.get(place..) {
        match (rest.find(quotes), rest.find('\\')) {
            (Some(end), Some(escape)) if escape < end => {
                let escaped = rest.get(escape + 1..).and_then(|rest| rest.chars().next());
                place += escape + 1 + escaped.map_or(0, char::len_utf8);
            }
            (Some(end), _) => return place + end + quotes.len(),
            (None, _) => return text.len(),
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_operation_is_described() {
        for (text, kind, name, fields) in [
            ("{ user(id: 1) { name } shop }", "query", "", vec!["user", "shop"]),
            (
                "fragment F on User { id } # {\nquery Mine($a: [Int!] = [1]) @cached(for: 3) \
                 { me: user(text: \"a } \\\" {\") @include(if: $a) { ...F } ...F ... on Query { x } y } \
                 mutation Other { z }",
                "query",
                "Mine",
                vec!["user", "y"],
            ),
            ("mutation { add(text: \"\"\"a \" } \"\"\") }", "mutation", "", vec!["add"]),
        ] {
            let fields = fields.into_iter().map(str::to_owned).collect();
            let expected = Operation { kind: kind.to_owned(), name: name.to_owned(), fields };
            assert_eq!(Operation::read(text), Some(expected), "{text}");
        }
        let long = "{".repeat(TOKENS_MAX * 2);
        assert_eq!(Operation::read(&long).map(|operation| operation.fields), Some(vec![]));
        for text in ["", "no", "query", "fragment F on User { id }", "\"{", "fragment {"] {
            assert_eq!(Operation::read(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_stops_it(text in r#"([{}()\[\]"\\#.,:@ \n]|query|on|[a-zé_1]{1,3}){0,40}"#) {
            let _ = Operation::read(&text);
        }
    }
}
