//! What an entry looks like: the full record, or an object of variables and fixed values.

use gantry_routing::vars::{Var, Vars as _};
use serde_json::{Map, Number, Value};

use crate::exchange::Facts;

/// Objects inside objects, the outermost counted.
const DEPTH_MAX: usize = 5;

/// The keys of an entry and where their values come from.
#[derive(Debug, Default)]
pub struct Format(Vec<(String, Node)>);

#[derive(Debug)]
enum Node {
    Variable(String),
    RequestBody,
    ResponseBody,
    Fixed(Value),
    Object(Format),
}

/// The bodies an entry may show.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bodies<'a> {
    pub request: Option<&'a str>,
    pub response: Option<&'a str>,
}

impl Format {
    /// Reads a format: texts with `$` in front are variables, objects are objects again.
    pub fn compile(format: &Map<String, Value>) -> Result<Self, String> {
        Self::nested(format, 1)
    }

    fn nested(format: &Map<String, Value>, depth: usize) -> Result<Self, String> {
        if depth > DEPTH_MAX {
            return Err(format!("log formats may have up to {DEPTH_MAX} levels"));
        }
        let node = |value: &Value| match value {
            Value::String(text) => Ok(match text.strip_prefix('$') {
                Some("request_body") => Node::RequestBody,
                Some("resp_body") => Node::ResponseBody,
                Some(name) => Node::Variable(name.to_owned()),
                None => Node::Fixed(value.clone()),
            }),
            Value::Object(inner) => Self::nested(inner, depth + 1).map(Node::Object),
            other => Ok(Node::Fixed(other.clone())),
        };
        let entries = format.iter().map(|(key, value)| Ok((key.clone(), node(value)?)));
        entries.collect::<Result<_, String>>().map(Self)
    }

    /// Whether an entry shows the request's body.
    #[must_use]
    pub fn shows_request_body(&self) -> bool {
        self.0.iter().any(|(_, node)| match node {
            Node::RequestBody => true,
            Node::Object(inner) => inner.shows_request_body(),
            _ => false,
        })
    }

    /// The entry for a request; what is unknown is left out.
    #[must_use]
    pub fn render(&self, facts: &Facts<'_>, bodies: Bodies<'_>) -> Map<String, Value> {
        let value = |node: &Node| match node {
            Node::Variable(name) => match facts.measured(name) {
                Some(value) => number(value).map(Value::Number),
                None => facts.var(name).and_then(|value| json(&value)),
            },
            Node::RequestBody => bodies.request.map(Value::from),
            Node::ResponseBody => bodies.response.map(Value::from),
            Node::Fixed(value) => Some(value.clone()),
            Node::Object(inner) => Some(Value::Object(inner.render(facts, bodies))),
        };
        self.0.iter().filter_map(|(key, node)| Some((key.clone(), value(node)?))).collect()
    }
}

/// A variable as JSON.
pub fn json(value: &Var<'_>) -> Option<Value> {
    match value {
        Var::Text(text) => Some(Value::from(&**text)),
        Var::Number(value) => number(*value).map(Value::Number),
        Var::Flag(flag) => Some(Value::Bool(*flag)),
        Var::List(values) => values.iter().map(json).collect::<Option<_>>().map(Value::Array),
    }
}

/// A number without a fraction has no point.
fn number(value: f64) -> Option<Number> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if value.fract() == 0.0 && value.abs() < EXACT {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    }
}
