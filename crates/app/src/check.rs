//! Small steps that all kinds share: violations to an error, JSON merge, texts for searches.

use gantry_model::page::folded;
use gantry_model::{Error, Result, Violation};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// An error that lists all broken rules, if there are any.
pub(crate) fn refuse(violations: &[Violation]) -> Result<()> {
    if violations.is_empty() { Ok(()) } else { Err(Error::invalid(violations)) }
}

/// `stored` with the top-level fields of `patch` put over it; `null` removes a field.
pub(crate) fn merged<S: Serialize + DeserializeOwned>(
    stored: &S,
    patch: Map<String, Value>,
) -> Result<S> {
    let mut document = json(stored)?;
    if let Some(fields) = document.as_object_mut() {
        for (name, value) in patch {
            match value {
                Value::Null => fields.remove(&name),
                value => fields.insert(name, value),
            };
        }
    }
    serde_json::from_value(document).map_err(|error| {
        Error::new(
            gantry_model::ErrorCode::InvalidArgument,
            format!("the change does not lead to a valid object: {error}"),
        )
    })
}

pub(crate) fn json(value: &impl Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(Error::internal)
}

/// Text that searches look at.
pub(crate) fn search_text<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let parts: Vec<String> = parts.into_iter().map(folded).collect();
    parts.join("\n")
}
