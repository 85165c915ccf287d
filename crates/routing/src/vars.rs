//! Variables of a request: how expressions and templates read them, and which names exist.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::json_path::{self, JsonPath};

/// The value of a variable. Most are texts.
#[derive(Clone, Debug, PartialEq)]
pub enum Var<'a> {
    Text(Cow<'a, str>),
    Number(f64),
    /// A query argument without `=` is `true`.
    Flag(bool),
    /// Several values, such as `graphql_root_fields`.
    List(Vec<Var<'a>>),
}

impl Var<'_> {
    /// The value as text; a list has none.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Flag(true) => Some(Cow::Borrowed("true")),
            Self::Flag(false) => Some(Cow::Borrowed("false")),
            Self::List(_) => None,
        }
    }

    /// The value as a number, if it reads as one.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Text(text) => number(text),
            Self::Number(number) => Some(*number),
            Self::Flag(_) | Self::List(_) => None,
        }
    }
}

impl<'a> From<&'a str> for Var<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Var<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

/// Reads a number as Lua does: spaces around it, a sign, `0x` and exponents are fine.
pub(crate) fn number(text: &str) -> Option<f64> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => {
            u64::from_str_radix(hex, 16).ok().map(|number| sign * number as f64)
        }
        Some(_) => None,
        None => digits.parse::<f64>().ok().map(|number| sign * number),
    }
}

/// Where expressions get the values of variables.
pub trait Vars {
    /// The value, or None if the variable is absent. An empty text is present.
    fn var(&self, name: &str) -> Option<Var<'_>>;
}

/// What is known about a variable.
#[derive(Debug, Deserialize)]
pub struct Variable {
    /// The name, or how it starts if `prefix`.
    pub name: String,
    /// The name goes on with a part that users choose, as in `http_x_id`.
    #[serde(default)]
    pub prefix: bool,
    /// Can be read while a route is looked for.
    #[serde(default)]
    pub routing: bool,
    /// One sentence.
    #[serde(default)]
    pub description: String,
}

#[derive(Deserialize)]
struct Data {
    variables: Vec<Variable>,
}

struct Names {
    whole: HashMap<String, Variable>,
    prefixes: Vec<Variable>,
}

#[expect(clippy::expect_used, reason = "the data is embedded, and every test reads it")]
static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let data: Data = serde_json::from_str(include_str!("../data/variables.json"))
        .expect("the embedded list of variables is valid");
    let (mut prefixes, whole): (Vec<_>, Vec<_>) =
        data.variables.into_iter().partition(|variable| variable.prefix);
    prefixes.sort_by_key(|variable| std::cmp::Reverse(variable.name.len()));
    Names { whole: whole.into_iter().map(|one| (one.name.clone(), one)).collect(), prefixes }
});

/// Looks a variable up by its full name, such as `uri` or `http_x_id`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Variable> {
    let names = &*NAMES;
    names.whole.get(name).or_else(|| {
        names
            .prefixes
            .iter()
            .find(|variable| name.len() > variable.name.len() && name.starts_with(&variable.name))
    })
}

/// All variables, by name.
#[must_use]
pub fn all() -> Vec<&'static Variable> {
    let mut all: Vec<_> = NAMES.whole.values().chain(&NAMES.prefixes).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// Whether conditions of a route may use the variable.
#[must_use]
pub fn is_routing(name: &str) -> bool {
    find(name).is_some_and(|variable| variable.routing)
}

/// Names of routing that Gantry's own gateway has no value for, and beginnings of such names. Its
/// tests compare them with what it answers.
const ABSENT_IN_GANTRY: [&str; 39] = [
    "binary_remote_addr",
    "connection",
    "connection_requests",
    "connection_time",
    "connections_active",
    "connections_reading",
    "connections_waiting",
    "connections_writing",
    "document_root",
    "limit_rate",
    "nginx_version",
    "pipe",
    "protocol",
    "proxy_protocol_tlv_",
    "realpath_root",
    "request_filename",
    "server_name",
    "ssl_alpn_protocol",
    "ssl_ciphers",
    "ssl_client_cert",
    "ssl_client_escaped_cert",
    "ssl_client_i_dn_legacy",
    "ssl_client_raw_cert",
    "ssl_client_s_dn_legacy",
    "ssl_client_v_end",
    "ssl_client_v_remain",
    "ssl_client_v_start",
    "ssl_curve",
    "ssl_curves",
    "ssl_early_data",
    "ssl_preread_alpn_protocols",
    "ssl_preread_protocol",
    "ssl_preread_server_name",
    "ssl_session_id",
    "ssl_session_reused",
    "tcpinfo_rcv_space",
    "tcpinfo_rtt",
    "tcpinfo_rttvar",
    "tcpinfo_snd_cwnd",
];

/// Whether Gantry's own gateway can answer for the variable while it looks for a route. To it, others
/// are absent from every request.
#[must_use]
pub fn routes_in_gantry(name: &str) -> bool {
    let known = find(name).filter(|variable| variable.routing);
    let is_path = match name.strip_prefix("post_arg.") {
        Some(path) if json_path::forks(path) => JsonPath::parse(path).is_some(),
        _ => true,
    };
    known.is_some_and(|variable| is_path && !ABSENT_IN_GANTRY.contains(&&*variable.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_whole_or_by_prefix() {
        assert!(is_routing("uri"));
        assert!(is_routing("http_x_id"));
        assert!(is_routing("post_arg.user.name"));
        assert!(!is_routing("http_"));
        assert!(!is_routing("consumer_name"));
        assert!(!is_routing("no_such_variable"));
        assert!(find("consumer_name").is_some());
        assert!(routes_in_gantry("http_x_id"));
        assert!(routes_in_gantry("post_arg.users[*].name") && !routes_in_gantry("consumer_name"));
        assert!(!routes_in_gantry("post_arg.users[name"));
        assert!(ABSENT_IN_GANTRY.iter().all(|name| all().iter().any(|known| known.name == *name)));
    }

    #[test]
    fn numbers_are_read_as_lua_reads_them() {
        for (text, expected) in [
            ("5", 5.0),
            (" 5.5 ", 5.5),
            ("-1e3", -1000.0),
            ("0x10", 16.0),
            ("+2", 2.0),
            (".5", 0.5),
        ] {
            assert_eq!(number(text), Some(expected), "{text}");
        }
        for text in ["", " ", "5a", "--5", "+-5", "0x", "0x+1", "1 2"] {
            assert_eq!(number(text), None, "{text}");
        }
    }
}
