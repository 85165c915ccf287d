//! People who sign in.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Id, Timestamp};

/// Contract, schema `User`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct User {
    pub id: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub org_ids: Vec<Id>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<Value>,
    /// How the user signs in: `local` or the name of an identity provider.
    pub connection: String,
    pub avatar_url: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Contract, schema `LoginResult`.
#[derive(Clone, Debug, Serialize)]
pub struct LoginResult {
    /// Bearer token of the session.
    pub token: String,
    pub expire: Timestamp,
    pub user: User,
}
