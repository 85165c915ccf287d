//! What a write would do to the keys that gateways see, for those who ask before they write.

use gantry_model::Result;
use serde::Serialize;

use crate::mask;

/// The answer to a dry run, beside the object as it would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Preview {
    /// The cluster's newest revision, on top of which the write was tried.
    pub revision: i64,
    /// Empty if gateways would see no change.
    pub changes: Vec<KeyChange>,
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

impl KeyChange {
    /// From the stored value of a key to its new one.
    pub(crate) fn new(key: &str, before: Option<&str>, after: Option<&str>) -> Result<Self> {
        let action = match (before, after) {
            (None, _) => Action::Create,
            (Some(_), Some(_)) => Action::Update,
            (Some(_), None) => Action::Delete,
        };
        let show = |value: Option<&str>| value.map(|text| mask::served(key, text)).transpose();
        Ok(Self { key: key.to_owned(), action, before: show(before)?, after: show(after)? })
    }
}
