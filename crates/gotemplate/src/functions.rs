//! The functions of templates: Go's own, and `escape` for texts inside JSON.

use std::cmp::Ordering;

use crate::format::{Sink, printf, shown};
use crate::value::Value;

/// Every function, sorted.
pub(crate) const NAMES: [&str; 19] = [
    "and", "eq", "escape", "ge", "gt", "html", "index", "js", "le", "len", "lt", "ne", "not", "or",
    "print", "printf", "println", "slice", "urlquery",
];

pub(crate) fn exists(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a function; a text it makes has at most `limit` bytes.
pub(crate) fn call(name: &str, arguments: &[Value], limit: usize) -> Result<Value, String> {
    match (name, arguments) {
        // All but the last were looked at before the call.
        ("and" | "or", [.., last]) => Ok(last.clone()),
        ("not", [value]) => Ok(Value::Bool(!value.is_true())),
        ("eq", [first, others @ ..]) if !others.is_empty() => {
            for other in others {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [one, two]) => Ok(Value::Bool(!equal(one, two)?)),
        ("lt" | "le" | "gt" | "ge", [one, two]) => {
            let order = compare(one, two)?;
            Ok(Value::Bool(match name {
                "lt" => order.is_lt(),
                "le" => order.is_le(),
                "gt" => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        ("len", [value]) => len(value),
        ("index", [value, keys @ ..]) => {
            keys.iter().try_fold(value.clone(), |at, key| index(&at, key))
        }
        ("slice", [value, bounds @ ..]) if bounds.len() <= 2 => slice(value, bounds),
        ("print", _) => joined(arguments, limit, |one, two| {
            !matches!(one, Value::Text(_)) && !matches!(two, Value::Text(_))
        }),
        ("println", _) => {
            let line = joined(arguments, limit.saturating_sub(1), |_, _| true)?;
            Ok(Value::text(&(shown(&line, limit)? + "\n")))
        }
        ("printf", [Value::Text(format), rest @ ..]) => {
            printf(format, rest, limit).map(|text| Value::text(&text))
        }
        ("printf", _) => Err("needs a format in quotes".into()),
        ("escape" | "html" | "js" | "urlquery", _) => escaped(name, arguments, limit),
        _ => Err(format!("cannot take {} arguments", arguments.len())),
    }
}

fn joined(
    arguments: &[Value],
    limit: usize,
    is_apart: impl Fn(&Value, &Value) -> bool,
) -> Result<Value, String> {
    let mut out = Sink::new(limit);
    let mut before = None;
    for value in arguments {
        if before.is_some_and(|before| is_apart(before, value)) {
            out.push(" ")?;
        }
        value.show(&mut out)?;
        before = Some(value);
    }
    Ok(Value::text(&out.into_text()))
}

fn equal(one: &Value, two: &Value) -> Result<bool, String> {
    match (one, two) {
        (Value::Nil, _) | (_, Value::Nil) => Ok(one == two),
        (Value::Bool(_), Value::Bool(_)) | (Value::Time(_), Value::Time(_)) => Ok(one == two),
        _ => compare(one, two).map(Ordering::is_eq),
    }
}

fn compare(one: &Value, two: &Value) -> Result<Ordering, String> {
    let order = match (one, two) {
        (Value::Int(one), Value::Int(two)) => Some(one.cmp(two)),
        (Value::Float(one), Value::Float(two)) => one.partial_cmp(two),
        (Value::Text(one), Value::Text(two)) => Some(one.cmp(two)),
        _ => None,
    };
    order.ok_or_else(|| format!("cannot compare a {} with a {}", one.type_name(), two.type_name()))
}

fn len(value: &Value) -> Result<Value, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(entries) => entries.len(),
        Value::Nil => 0,
        other => return Err(format!("a {} has no length", other.type_name())),
    };
    i64::try_from(length).map(Value::Int).map_err(|error| error.to_string())
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    match (value, key) {
        (Value::Nil, _) => Ok(Value::Nil),
        (Value::Map(_) | Value::Record(_), Value::Text(key)) => value.field(key, &[]),
        (Value::List(items), Value::Int(position)) => {
            let found = usize::try_from(*position).ok().and_then(|position| items.get(position));
            found.cloned().ok_or_else(|| format!("there is no item {position}"))
        }
        (value, key) => Err(format!("a {} has no items by {}", value.type_name(), key.type_name())),
    }
}

/// Part of a text or list: from the first bound to before the second.
fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let Value::Int(length) = len(value)? else { return Err("has no length".into()) };
    let bound = |position: usize, default: i64| match bounds.get(position) {
        Some(Value::Int(bound)) => usize::try_from(*bound).ok(),
        Some(_) => None,
        None => usize::try_from(default).ok(),
    };
    let part = bound(0, 0).zip(bound(1, length)).and_then(|(from, to)| match value {
        Value::Text(text) => text.get(from..to).map(Value::text),
        Value::List(items) => items.get(from..to).map(|items| Value::List(items.into())),
        _ => None,
    });
    part.ok_or_else(|| "the bounds are no part of it".into())
}

fn escaped(name: &str, arguments: &[Value], limit: usize) -> Result<Value, String> {
    let plain = joined(arguments, limit, |_, _| false)?;
    let mut out = Sink::new(limit);
    for letter in shown(&plain, limit)?.chars() {
        let found = match name {
            "escape" => json(letter),
            "html" => html(letter),
            "js" => script(letter),
            _ => query(letter),
        };
        match found {
            Some(text) => out.push(&text)?,
            None => out.push(letter.encode_utf8(&mut [0; 4]))?,
        }
    }
    Ok(Value::text(&out.into_text()))
}

/// What stands for a letter inside a JSON text, if it cannot stand for itself.
fn json(letter: char) -> Option<String> {
    Some(match letter {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        letter if u32::from(letter) < 0x20 => format!("\\u{:04x}", u32::from(letter)),
        _ => return None,
    })
}

fn html(letter: char) -> Option<String> {
    let text = match letter {
        '\0' => "\u{fffd}",
        '"' => "&#34;",
        '\'' => "&#39;",
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        _ => return None,
    };
    Some(text.into())
}

fn script(letter: char) -> Option<String> {
    Some(match letter {
        '\\' => "\\\\".into(),
        '\'' => "\\'".into(),
        '"' => "\\\"".into(),
        '<' | '>' | '&' | '=' => format!("\\u{:04X}", u32::from(letter)),
        letter if letter.is_control() => format!("\\u{:04X}", u32::from(letter)),
        _ => return None,
    })
}

fn query(letter: char) -> Option<String> {
    match letter {
        ' ' => Some("+".into()),
        letter if letter.is_ascii_alphanumeric() || "-_.~".contains(letter) => None,
        letter => {
            let mut bytes = [0; 4];
            let bytes = letter.encode_utf8(&mut bytes).bytes();
            Some(bytes.map(|byte| format!("%{byte:02X}")).collect())
        }
    }
}
