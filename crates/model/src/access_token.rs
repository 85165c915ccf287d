//! Personal access tokens: signed JWTs that act as their user (design §4).

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// Tokens a user may have at once (facts, §6).
pub const TOKENS_PER_USER_MAX: i64 = 50;

/// Contract, schema `AccessTokenCreate`.
#[derive(Clone, Debug, Deserialize)]
pub struct AccessTokenCreate {
    /// Unix seconds of the end of validity; 0 never ends.
    pub expire: i64,
    #[serde(default)]
    pub notes: String,
}

/// Contract, schema `AccessToken`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AccessToken {
    pub id: String,
    pub notes: String,
    /// End of validity; the year 9999 stands for "never", because the contract demands a time.
    pub expire: Timestamp,
    pub created_at: Timestamp,
    /// The secret itself: only in the answer to the create.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}
