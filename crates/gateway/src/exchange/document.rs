//! A request's body as fields: JSON as it is, forms as an object of texts.

use serde_json::{Map, Value};

use crate::plugin::url;

/// How bodies are written that have fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    Form,
    Multipart,
    Graphql,
}

impl Kind {
    /// What a `Content-Type` says; None for all others.
    pub fn of(content_type: &str) -> Option<Self> {
        const KINDS: [(&str, Kind); 4] = [
            ("application/json", Kind::Json),
            ("application/x-www-form-urlencoded", Kind::Form),
            ("multipart/form-data", Kind::Multipart),
            ("application/graphql", Kind::Graphql),
        ];
        let name = content_type.split(';').next().unwrap_or("").trim();
        KINDS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }
}

/// The fields of a body; None if it has none.
pub fn read(body: &[u8], content_type: &str) -> Option<Value> {
    match Kind::of(content_type)? {
        Kind::Json => serde_json::from_slice(body).ok(),
        Kind::Form => Some(form(std::str::from_utf8(body).ok()?)),
        Kind::Multipart => multipart(body, boundary(content_type)?),
        Kind::Graphql => None,
    }
}

/// A name that is repeated has a list of values.
fn form(text: &str) -> Value {
    let mut fields = Map::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = Value::from(url::decode(value));
        match fields.get_mut(&*url::decode(name)) {
            None => drop(fields.insert(url::decode(name).into_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(fields)
}

fn boundary(content_type: &str) -> Option<&str> {
    parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty())
}

/// A parameter of a header such as `form-data; name="a"`, without its quotes.
fn parameter<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    header.split(';').skip(1).find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        found.trim().eq_ignore_ascii_case(name).then(|| bare.unwrap_or(value))
    })
}

/// The parts that are text, by name; of those with one name the last, as APISIX has it. Read line by
/// line, as boundaries stand alone (RFC 2046, 5.1.1).
fn multipart(body: &[u8], boundary: &str) -> Option<Value> {
    let mut fields = Map::new();
    let mut part: Option<Part> = None;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let bare = line.trim_ascii_end();
        let mark = bare.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary.as_bytes()));
        match (mark, &mut part) {
            (Some(b"" | b"--"), _) => {
                fields.extend(part.take().and_then(Part::field));
                if mark == Some(b"--") {
                    return Some(Value::Object(fields));
                }
                part = Some(Part::default());
            }
            (_, Some(part)) => part.line(line),
            (_, None) => {}
        }
    }
    // The last boundary is missing: it has broken off.
    None
}

#[derive(Default)]
struct Part {
    name: Option<String>,
    in_body: bool,
    body: Vec<u8>,
}

impl Part {
    fn line(&mut self, line: &[u8]) {
        if self.in_body {
            self.body.extend_from_slice(line);
            return;
        }
        let text = String::from_utf8_lossy(line.trim_ascii_end());
        self.in_body = text.is_empty();
        if let Some((header, value)) = text.split_once(':')
            && header.trim().eq_ignore_ascii_case("content-disposition")
        {
            self.name = parameter(value, "name").map(str::to_owned);
        }
    }

    /// The line's end before a boundary belongs to the boundary.
    fn field(self) -> Option<(String, Value)> {
        let body = self.body.strip_suffix(b"\n").unwrap_or(&self.body);
        let body = body.strip_suffix(b"\r").unwrap_or(body);
        Some((self.name?, Value::from(std::str::from_utf8(body).ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_have_texts_and_lists_of_them() {
        let body = b"a=1&b=x+y&b=%32&&c";
        let fields = read(body, "Application/X-www-form-urlencoded; charset=utf-8");
        assert_eq!(fields, Some(json!({"a": "1", "b": ["x y", "2"], "c": ""})));
    }

    #[test]
    fn parts_of_a_multipart_body_are_fields() {
        let body = "before\r\n--x y\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n\r\n2\r\n\
            --x y\r\ncontent-type: text/plain\r\ncontent-disposition: form-data; name=file; filename=\"f\"\
            \r\n\r\n--x yz\r\n--x y  \r\n\r\nnameless\r\n--x y--\r\nafter";
        let kind = "multipart/form-data; boundary=\"x y\"";
        assert_eq!(read(body.as_bytes(), kind), Some(json!({"a": "1\r\n\r\n2", "file": "--x yz"})));
        let cut = body.split("--x y--").next().unwrap();
        assert_eq!(read(cut.as_bytes(), kind), None, "it has broken off");
        assert_eq!(read(body.as_bytes(), "multipart/form-data"), None);
        assert_eq!(read(b"{}", "text/plain"), None);
    }
}
