//! What a response is kept under.

use gantry_routing::vars::{Var, Vars};
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;

/// Stands behind the name of a consumer.
pub const CONSUMER_END: char = '\x01';
/// Stands before each header of a variant.
const HEADER: char = '\x02';
/// Stands behind each value of a header.
const VALUE_END: char = '\x03';

/// Whether a byte has a meaning in keys. Headers cannot contain it, but what is percent-decoded can.
pub fn separates(byte: u8) -> bool {
    [CONSUMER_END, HEADER, VALUE_END].contains(&char::from(byte))
}

/// The key of which this one is a variant, or the key itself.
pub fn base(key: &str) -> &str {
    key.split(HEADER).next().unwrap_or(key)
}

/// A text, or the value of a variable.
#[derive(Deserialize)]
#[serde(from = "String")]
pub enum Part {
    Text(String),
    Variable(String),
}

impl From<String> for Part {
    fn from(text: String) -> Self {
        match text.strip_prefix('$') {
            Some(name) => Self::Variable(name.to_owned()),
            None => Self::Text(text),
        }
    }
}

impl Part {
    pub fn append(&self, vars: &dyn Vars, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(text),
            Self::Variable(name) => {
                let value = vars.var(name);
                out.push_str(&value.as_ref().and_then(Var::text).unwrap_or_default());
            }
        }
    }

    /// Whether it is something else than nothing or "0".
    pub fn is_set(&self, vars: &dyn Vars) -> bool {
        let mut text = String::new();
        self.append(vars, &mut text);
        !text.is_empty() && text != "0"
    }

    /// Whether it is one of these variables.
    pub fn names(&self, variables: &[&str]) -> bool {
        matches!(self, Self::Variable(name) if variables.contains(&&**name))
    }
}

/// The headers of the request that a response depends on; None if it depends on everything.
pub fn varies(response: &ResponseHeader) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in response.headers.get_all(header::VARY) {
        names.extend(line.to_str().ok()?.split(',').map(|name| name.trim().to_ascii_lowercase()));
    }
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    (!names.iter().any(|name| name == "*")).then_some(names)
}

/// The key of the variant for this request.
pub fn variant(key: &str, names: &[String], request: &RequestHeader) -> String {
    let mut variant = key.to_owned();
    for name in names {
        variant.push(HEADER);
        for value in request.headers.get_all(name) {
            variant.push_str(&String::from_utf8_lossy(value.as_bytes()));
            variant.push(VALUE_END);
        }
    }
    variant
}
