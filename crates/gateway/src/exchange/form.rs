//! Variables of the request's body. Routes may look at them, so a body is read early if one asks.

use gantry_routing::{
    json_path::{self, JsonPath},
    vars::Var,
};
use http::header::CONTENT_TYPE;
use serde_json::Value;

use super::{
    Facts,
    document::{self, Kind},
    graphql::Operation,
};
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
        match mark {
            "_" if self.kind() == Some(Kind::Form) => {
                let text = std::str::from_utf8(self.body()?).ok()?;
                url::argument(text, path).map(|value| Var::from(value.into_owned()))
            }
            "." => self.field(path),
            _ => None,
        }
    }

    /// What a path leads to; a list if it may lead to several values.
    fn field(&self, path: &str) -> Option<Var<'a>> {
        // Nobody waits for a body that has no fields.
        self.kind().filter(|kind| *kind != Kind::Graphql)?;
        let document = self.document()?;
        if json_path::forks(path) {
            let found = JsonPath::parse(path)?.find(document);
            let values: Vec<_> = found.into_iter().filter_map(var).collect();
            return (!values.is_empty()).then_some(Var::List(values));
        }
        let mut names = path.split('.').filter(|name| !name.is_empty());
        names.try_fold(document, |value, name| value.get(name)).and_then(var)
    }

    /// The body, once it is here; asking for it makes it come.
    fn body(&self) -> Option<&'a [u8]> {
        let exchange = self.exchange;
        if exchange.body.is_none() {
            exchange.body_wanted.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        exchange.body.as_deref()
    }

    /// The body's fields, read once.
    fn document(&self) -> Option<&'a Value> {
        let body = self.body()?;
        let read = || document::read(body, self.content_type());
        self.exchange.document.get_or_init(read).as_ref()
    }

    fn content_type(&self) -> &'a str {
        let value = self.request.headers.get(CONTENT_TYPE);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    fn kind(&self) -> Option<Kind> {
        Kind::of(self.content_type())
    }

    fn operation(&self) -> Option<Operation> {
        if self.request.method == http::Method::GET {
            let text = url::argument(self.request.uri.query()?, "query")?;
            return Operation::read(&text);
        }
        match self.kind()? {
            Kind::Json => Operation::read(self.document()?.get("query")?.as_str()?),
            Kind::Graphql => Operation::read(std::str::from_utf8(self.body()?).ok()?),
            Kind::Form | Kind::Multipart => None,
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
