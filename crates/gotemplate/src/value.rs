//! What templates work on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::format::Sink;
use crate::time;

/// A value of a template. Copies are cheap.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Absent: false in a condition.
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Arc<str>),
    List(Arc<[Value]>),
    /// Any key may be asked for; those that are not there are absent.
    Map(Arc<BTreeMap<String, Value>>),
    /// Only the fields it has may be asked for.
    Record(Arc<Record>),
    /// In UTC.
    Time(jiff::Timestamp),
}

/// Something with named fields, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub name: &'static str,
    pub fields: Vec<(&'static str, Value)>,
}

impl Value {
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.into())
    }

    /// A moment in microseconds since 1970; beyond the year 9999 it is 1970.
    #[must_use]
    pub fn time(micros: i64) -> Self {
        Self::Time(jiff::Timestamp::from_microsecond(micros).unwrap_or_default())
    }

    #[must_use]
    pub fn map(entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        Self::Map(Arc::new(entries.into_iter().collect()))
    }

    #[must_use]
    pub fn record(name: &'static str, fields: Vec<(&'static str, Value)>) -> Self {
        Self::Record(Arc::new(Record { name, fields }))
    }

    /// Go's truth: what is not the zero value of its type.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(items) => !items.is_empty(),
            Self::Map(entries) => !entries.is_empty(),
            Self::Record(_) | Self::Time(_) => true,
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "nil",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Record(record) => record.name,
            Self::Time(_) => "time",
        }
    }

    /// `.name` of this value, called with `arguments` if it is a method.
    pub(crate) fn field(&self, name: &str, arguments: &[Value]) -> Result<Value, String> {
        if let Self::Time(moment) = self {
            return time::method(*moment, name, arguments);
        }
        if !arguments.is_empty() {
            return Err(format!(".{name} is no method, it takes no arguments"));
        }
        match self {
            Self::Nil => Ok(Self::Nil),
            Self::Map(entries) => Ok(entries.get(name).cloned().unwrap_or(Self::Nil)),
            Self::Record(record) => {
                let found = record.fields.iter().find(|(field, _)| *field == name);
                found.map(|(_, value)| value.clone()).ok_or_else(|| {
                    let known: Vec<String> =
                        record.fields.iter().map(|(field, _)| format!(".{field}")).collect();
                    format!("{} has no field .{name}, only {}", record.name, known.join(", "))
                })
            }
            other => Err(format!("a {} has no field .{name}", other.type_name())),
        }
    }

    /// Writes the value as `{{.}}` shows it.
    pub(crate) fn show(&self, out: &mut Sink) -> Result<(), String> {
        match self {
            Self::Nil => out.push("<no value>"),
            Self::Bool(value) => out.push(if *value { "true" } else { "false" }),
            Self::Int(value) => out.push(&value.to_string()),
            Self::Float(value) => out.push(&float(*value)),
            Self::Text(text) => out.push(text),
            Self::List(items) => {
                out.push("[")?;
                show_all(items.iter(), out)?;
                out.push("]")
            }
            Self::Map(entries) => {
                out.push("map[")?;
                for (position, (key, value)) in entries.iter().enumerate() {
                    out.push(if position > 0 { " " } else { "" })?;
                    out.push(key)?;
                    out.push(":")?;
                    value.show(out)?;
                }
                out.push("]")
            }
            Self::Record(record) => {
                out.push("{")?;
                show_all(record.fields.iter().map(|(_, value)| value), out)?;
                out.push("}")
            }
            Self::Time(moment) => out.push(&time::string(*moment)),
        }
    }
}

fn show_all<'a>(values: impl Iterator<Item = &'a Value>, out: &mut Sink) -> Result<(), String> {
    for (position, value) in values.enumerate() {
        out.push(if position > 0 { " " } else { "" })?;
        value.show(out)?;
    }
    Ok(())
}

/// As few digits as tell the number from others; an exponent for very large and very small ones.
pub(crate) fn float(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (1e-4..1e21).contains(&size) || !value.is_finite() {
        return match value {
            value if value.is_nan() => "NaN".into(),
            value if value.is_infinite() => (if value > 0.0 { "+Inf" } else { "-Inf" }).into(),
            value => value.to_string(),
        };
    }
    exponent(&format!("{value:e}"))
}

/// `1e6` as Go writes it: `1e+06`.
pub(crate) fn exponent(text: &str) -> String {
    let Some((digits, power)) = text.split_once(['e', 'E']) else { return text.to_owned() };
    let (sign, power) = power.strip_prefix('-').map_or(('+', power), |power| ('-', power));
    format!("{digits}e{sign}{power:0>2}")
}
