//! Variables of the request's body. Routes may look at them, so a body is read early if one asks.

use gantry_routing::vars::Var;
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::{Facts, graphql::Operation};
use crate::plugin::url;

impl<'a> Facts<'a> {
    /// `post_arg_name`, `post_arg.path` and `graphql_…`; None for other names.
    pub(super) fn of_body(&self, name: &str) -> Option<Var<'a>> {
        if let Some(what) = name.strip_prefix("graphql_") {
            let operation = self.operation()?;
            return Some(match what {
                "name" => Var::from(operation.name),
                "operation" => Var::from(operation.kind),
                "root_fields" => Var::List(operation.fields.into_iter().map(Var::from).collect()),
                _ => return None,
            });
        }
        let path = name.strip_prefix("post_arg")?;
        let (mark, path) = path.split_at_checked(1)?;
        let body = self.body()?;
        match (mark, self.content_type()) {
            ("_" | ".", "application/x-www-form-urlencoded") => {
                let text = std::str::from_utf8(body).ok()?;
                url::argument(text, path).map(|value| Var::from(value.into_owned()))
            }
            (".", "application/json") => path
                .split('.')
                .try_fold(self.document()?, |value, name| value.get(name))
                .and_then(var),
            _ => None,
        }
    }

    /// The body, once it is here; asking for it makes it come.
    fn body(&self) -> Option<&'a [u8]> {
        let exchange = self.exchange;
        if exchange.body.is_none() {
            exchange.body_wanted.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        exchange.body.as_deref()
    }

    /// The body as JSON, parsed once.
    fn document(&self) -> Option<&'a Value> {
        let body = self.body()?;
        self.exchange.document.get_or_init(|| serde_json::from_slice(body).ok()).as_ref()
    }

    /// The media type, in lower case if it is one of those that matter.
    fn content_type(&self) -> &'static str {
        let value = self.request.headers.get(CONTENT_TYPE);
        let value = value.and_then(|value| value.to_str().ok()).unwrap_or("");
        let kind = value.split(';').next().unwrap_or("").trim();
        ["application/json", "application/graphql", "application/x-www-form-urlencoded"]
            .into_iter()
            .find(|known| known.eq_ignore_ascii_case(kind))
            .unwrap_or("")
    }

    fn operation(&self) -> Option<Operation> {
        if self.request.method == http::Method::GET {
            let text = url::argument(self.request.uri.query()?, "query")?;
            return Operation::read(&text);
        }
        let body = self.body()?;
        match self.content_type() {
            "application/json" => Operation::read(self.document()?.get("query")?.as_str()?),
            "application/graphql" => Operation::read(std::str::from_utf8(body).ok()?),
            _ => None,
        }
    }
}

/// A value of a document as variables have it; an object has none.
fn var(value: &Value) -> Option<Var<'_>> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::Bool(flag) => Some(Var::Flag(*flag)),
        Value::Number(number) => number.as_f64().map(Var::Number),
        Value::String(text) => Some(Var::from(text.as_str())),
        Value::Array(values) => Some(Var::List(values.iter().filter_map(var).collect())),
    }
}
