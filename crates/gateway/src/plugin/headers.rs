//! Changes to headers, as proxy-rewrite and response-rewrite describe them: add, then set, then
//! remove. Values may hold variables.

use http::{HeaderName, HeaderValue, header::HOST};
use pingora::http::{RequestHeader, ResponseHeader};
use serde::Deserialize;
use serde_json::{Map, Value};

use gantry_routing::vars::Vars;

use super::config;
use crate::template::{Names, Template};

/// Compiled changes.
#[derive(Default)]
pub struct Changes {
    add: Vec<Change>,
    set: Vec<Change>,
    remove: Vec<HeaderName>,
}

/// A header and the values it gets.
struct Change {
    name: HeaderName,
    values: Vec<Text>,
}

/// A value that is the same for all requests, or one to be rendered.
enum Text {
    Fixed(HeaderValue),
    Rendered(Template),
}

/// Headers by name with one value each, for answers of our own.
#[derive(Default)]
pub struct Fields(Vec<(HeaderName, Text)>);

/// The changes of one request, rendered.
pub struct Rendered<'a> {
    changes: &'a Changes,
    add: Vec<(&'a HeaderName, HeaderValue)>,
    set: Vec<(&'a HeaderName, Vec<HeaderValue>)>,
}

/// A request's or a response's head.
pub trait Head {
    fn append(&mut self, name: &HeaderName, value: HeaderValue);
    fn remove(&mut self, name: &HeaderName);
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Structured {
    add: Value,
    set: Map<String, Value>,
    remove: Vec<String>,
}

impl Fields {
    /// Reads names and values; a value is a text or a number.
    pub fn parse(map: Option<&Map<String, Value>>) -> Result<Self, String> {
        let field = |(name, value): (&String, &Value)| {
            Ok::<_, String>((config::header_name(name)?, text(value)?))
        };
        map.into_iter().flatten().map(field).collect::<Result<_, _>>().map(Self)
    }

    /// Reads a list of names and values.
    pub fn list<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let field =
            |(name, value): (&str, &str)| Ok((config::header_name(name)?, Text::new(value)?));
        pairs.into_iter().map(field).collect::<Result<_, String>>().map(Self)
    }

    /// The headers for this request.
    pub fn render(&self, vars: &dyn Vars) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.0.iter().filter_map(|(name, text)| Some((name.clone(), text.render(vars)?)))
    }
}

impl Changes {
    /// Reads `headers` of a configuration: `{add, set, remove}`, or names and values to set.
    pub fn parse(value: Option<&Value>) -> Result<Self, String> {
        let Some(Value::Object(map)) = value else { return Ok(Self::default()) };
        let nested = |key: &str| map.get(key).is_some_and(|v| v.is_object() || v.is_array());
        if !["add", "set", "remove"].into_iter().any(nested) {
            return Ok(Self { set: changes(map)?, ..Self::default() });
        }
        let Structured { add, set, remove } = serde_json::from_value(Value::Object(map.clone()))
            .map_err(|e| format!("`headers`: {e}"))?;
        Ok(Self {
            add: match &add {
                Value::Object(map) => changes(map)?,
                Value::Array(lines) => lines.iter().map(line).collect::<Result<_, _>>()?,
                _ => Vec::new(),
            },
            set: changes(&set)?,
            remove: remove
                .iter()
                .map(|name| config::header_name(name))
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.add.is_empty() && self.set.is_empty() && self.remove.is_empty()
    }

    /// The changes with their values for this request.
    #[must_use]
    pub fn render(&self, vars: &dyn Vars) -> Rendered<'_> {
        let values =
            |change: &Change| change.values.iter().filter_map(|text| text.render(vars)).collect();
        Rendered {
            changes: self,
            add: self
                .add
                .iter()
                .flat_map(|change| change.values.iter().map(move |text| (&change.name, text)))
                .filter_map(|(name, text)| Some((name, text.render(vars)?)))
                .collect(),
            set: self.set.iter().map(|change| (&change.name, values(change))).collect(),
        }
    }
}

impl Rendered<'_> {
    /// Changes a head. `Host` is answered instead of changed, because it belongs to the upstream.
    pub fn apply(self, head: &mut impl Head) -> Option<HeaderValue> {
        let mut host = None;
        for (name, value) in self.add {
            head.append(name, value);
        }
        for (name, values) in self.set {
            if name == HOST {
                host = values.into_iter().next_back();
                continue;
            }
            head.remove(name);
            for value in values {
                head.append(name, value);
            }
        }
        for name in &self.changes.remove {
            head.remove(name);
        }
        host
    }
}

// Appending fails only if a header map is full; then the message is better off as it is.
impl Head for RequestHeader {
    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.append_header(name.clone(), value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl Head for ResponseHeader {
    fn append(&mut self, name: &HeaderName, value: HeaderValue) {
        let _ = self.append_header(name.clone(), value);
    }

    fn remove(&mut self, name: &HeaderName) {
        self.remove_header(name);
    }
}

impl Text {
    fn new(text: &str) -> Result<Self, String> {
        let template = Template::with_names(text, Names::Captures);
        Ok(match template.fixed() {
            Some(text) => Self::Fixed(config::header_value(text)?),
            None => Self::Rendered(template),
        })
    }

    /// The value, without what may not stand in a header.
    fn render(&self, vars: &dyn Vars) -> Option<HeaderValue> {
        match self {
            Self::Fixed(value) => Some(value.clone()),
            Self::Rendered(template) => {
                let text = template.render(vars);
                HeaderValue::try_from(&*text)
                    .or_else(|_| HeaderValue::try_from(text.replace(char::is_control, "")))
                    .ok()
            }
        }
    }
}

fn changes(map: &Map<String, Value>) -> Result<Vec<Change>, String> {
    let change = |(name, value): (&String, &Value)| {
        let values = match value {
            Value::Array(values) => values.iter().map(text).collect::<Result<_, _>>()?,
            single => vec![text(single)?],
        };
        Ok(Change { name: config::header_name(name)?, values })
    };
    map.iter().map(change).collect()
}

/// A header to add, written as `Name: value`.
fn line(value: &Value) -> Result<Change, String> {
    let malformed = || format!("{value} is not a header like `Name: value`");
    let (name, value) =
        value.as_str().and_then(|line| line.split_once(':')).ok_or_else(malformed)?;
    Ok(Change { name: config::header_name(name.trim())?, values: vec![Text::new(value.trim())?] })
}

fn text(value: &Value) -> Result<Text, String> {
    match value {
        Value::String(text) => Text::new(text),
        Value::Number(number) => Text::new(&number.to_string()),
        other => Err(format!("{other} is not a header value")),
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use gantry_routing::vars::Var;
    use serde_json::json;

    use super::*;

    struct Fixed;

    impl Vars for Fixed {
        fn var(&self, name: &str) -> Option<Var<'_>> {
            (name == "host").then_some(Var::Text(Cow::Borrowed("a.com")))
        }
    }

    fn applied(headers: &Value) -> Vec<String> {
        let mut head = RequestHeader::build("GET", b"/", None).unwrap();
        head.append_header("x-old", "1").unwrap();
        let changes = Changes::parse(Some(headers)).unwrap();
        changes.render(&Fixed).apply(&mut head);
        let mut lines: Vec<_> = head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn headers_are_added_set_and_removed_in_this_order() {
        let headers = json!({
            "add": {"X-Old": [2, "3"], "X-Gone": "x"},
            "set": {"X-Host": "<$host>", "X-Empty": ""},
            "remove": ["x-gone"],
        });
        assert_eq!(
            applied(&headers),
            ["x-empty: ", "x-host: <a.com>", "x-old: 1", "x-old: 2", "x-old: 3"]
        );
    }

    #[test]
    fn the_flat_form_sets() {
        assert_eq!(applied(&json!({"x-old": "new", "X-N": 5})), ["x-n: 5", "x-old: new"]);
    }

    #[test]
    fn lines_are_added() {
        assert_eq!(applied(&json!({"add": ["X-Old: a b"]})), ["x-old: 1", "x-old: a b"]);
    }

    #[test]
    fn what_cannot_be_a_header_is_named() {
        let error = Changes::parse(Some(&json!({"a b": "x"}))).err().unwrap();
        assert_eq!(error, "`a b` is not a header name");
    }
}
