//! JSON or YAML into values, with a limit on what may come out: a few bytes of YAML aliases can stand
//! for gigabytes.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Most values a document may hold once its aliases are put in.
const NODES_MAX: usize = 300_000;
/// Most bytes its texts may have then.
const TEXT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Most opening brackets of a YAML document. Its scanner looks at every open one for each token, so
/// that deep nesting takes time by the square of its depth. Quoted brackets count too: telling them
/// apart is the scanner's work.
const BRACKETS_MAX: usize = 10_000;

/// The value of a document. The error is a sentence with line and column where there are any.
pub fn parse(text: &str) -> Result<Value, String> {
    let json = text.trim_start().starts_with('{').then(|| parse_json(text));
    match json {
        Some(Ok(value)) => Ok(value),
        // YAML too may begin with a brace.
        Some(Err(reason)) => parse_yaml(text).map_err(|_| reason),
        None => parse_yaml(text),
    }
}

fn parse_json(text: &str) -> Result<Value, String> {
    let budget = Budget::default();
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = Node(&budget).deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    Ok(value)
}

fn parse_yaml(text: &str) -> Result<Value, String> {
    if text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count() > BRACKETS_MAX {
        return Err(format!("it holds more than {BRACKETS_MAX} opening brackets: send it as JSON"));
    }
    let budget = Budget::default();
    let deserializer = serde_norway::Deserializer::from_str(text);
    Node(&budget).deserialize(deserializer).map_err(|error| error.to_string())
}

/// What has been used up.
#[derive(Default)]
struct Budget {
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

impl Budget {
    fn spend<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        self.bytes.set(self.bytes.get() + bytes);
        if self.nodes.get() > NODES_MAX || self.bytes.get() > TEXT_BYTES_MAX {
            return Err(E::custom(format!(
                "it holds more than {NODES_MAX} values or {TEXT_BYTES_MAX} bytes of text, aliases \
                 put in"
            )));
        }
        Ok(())
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
struct Node<'b>(&'b Budget);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.0.spend(0).map(|()| Value::from(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.0.spend(0).map(|()| Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.0.spend(0).map(|()| Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.0.spend(0).map(|()| Value::from(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.0.spend(value.len()).map(|()| Value::from(value))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.0.spend(0).map(|()| Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        self.0.spend(0)?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        self.0.spend(0)?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key_seed(self)? {
            let key = key_text(key).map_err(de::Error::custom)?;
            let value = entries.next_value_seed(self)?;
            if map.contains_key(&key) {
                return Err(de::Error::custom(format!("the key `{key}` occurs twice")));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

/// Keys of YAML may be numbers, such as the statuses of responses.
fn key_text(key: Value) -> Result<String, &'static str> {
    match key {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(key.to_string()),
        Value::Array(_) | Value::Object(_) => Err("a key must be a text"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_and_yaml_mean_the_same() {
        let expected = json!({ "a": [1, -2, 1.5, true, null, "x"], "200": { "b": "c" } });
        assert_eq!(parse(&expected.to_string()), Ok(expected.clone()));
        let yaml = "a: [1, -2, 1.5, true, ~, x]\n200:\n  b: c\n";
        assert_eq!(parse(yaml), Ok(expected.clone()));
        assert_eq!(parse("{a: [1, -2, 1.5, true, null, x], 200: {b: c}}"), Ok(expected));
    }

    #[test]
    fn aliases_are_put_in_up_to_a_limit() {
        let few = parse("a: &a {b: 1}\nc: *a\n");
        assert_eq!(few, Ok(json!({ "a": { "b": 1 }, "c": { "b": 1 } })));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb += &format!("a{level}: &a{level} [{aliases}]\n");
        }
        assert!(parse(&bomb).is_err());
        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(100_000), ["*a"; 2000].join(", "));
        assert!(parse(&long).unwrap_err().contains("bytes of text"));
    }

    #[test]
    fn depth_and_doubt_are_refused() {
        let deep = "[".repeat(100_000);
        assert!(parse(&deep).is_err());
        assert!(parse(&format!("{{\"a\":{deep}")).is_err());
        for bad in
            ["{\"a\":1,\"a\":2}", "a: 1\na: 2\n", "a: *b\n", "? [x]\n: 1\n", "a: 1\n---\nb: 2\n"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse("{\"a\": ]").unwrap_err().contains("line 1 column 7"));
    }
}
