//! What a write would do, to objects and to the keys that gateways see, for those who ask before
//! they write.

use gantry_model::Result;
use serde::Serialize;
use serde_json::Value;

use crate::audit::Entry;
use crate::mask;

/// The answer to a dry run, beside the object as it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The cluster's newest revision, on top of which the write was tried.
    pub revision: i64,
    pub objects: Vec<ObjectChange>,
    /// Empty if gateways would see no change.
    pub changes: Vec<KeyChange>,
}

/// What would become of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectChange {
    /// As in the audit, such as `application`.
    pub kind: &'static str,
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub action: Action,
    /// Top-level fields that an update changes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
}

/// What would become of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyChange {
    /// Such as `/apisix/routes/2001`.
    pub key: String,
    pub action: Action,
    /// The documents as JSON text, secrets masked and private keys left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    Create,
    Update,
    Delete,
}

impl From<&Entry> for ObjectChange {
    fn from(entry: &Entry) -> Self {
        let Entry { kind, id, before, after } = entry;
        let action = Action::of(before.is_some(), after.is_some());
        let whole = after.as_ref().or(before.as_ref());
        let name = whole.and_then(|whole| whole.get("name")?.as_str().map(str::to_owned));
        let fields = match (before, after) {
            (Some(before), Some(after)) => differing(before, after),
            _ => Vec::new(),
        };
        Self { kind, id: id.clone(), name, action, fields }
    }
}

/// Fields of two objects whose values are not the same.
fn differing(before: &Value, after: &Value) -> Vec<String> {
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect()
    };
    let mut fields = keys(before);
    fields.extend(keys(after));
    fields.sort();
    fields.dedup();
    fields.retain(|field| before.get(field) != after.get(field));
    fields
}

impl Action {
    fn of(before: bool, after: bool) -> Self {
        match (before, after) {
            (false, _) => Self::Create,
            (true, true) => Self::Update,
            (true, false) => Self::Delete,
        }
    }
}

impl KeyChange {
    /// From the stored value of a key to its new one.
    pub(crate) fn new(key: &str, before: Option<&str>, after: Option<&str>) -> Result<Self> {
        let action = Action::of(before.is_some(), after.is_some());
        let show = |value: Option<&str>| value.map(|text| mask::served(key, text)).transpose();
        Ok(Self { key: key.to_owned(), action, before: show(before)?, after: show(after)? })
    }
}
