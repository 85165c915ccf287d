//! Organizations own clusters and have members.

use serde::{Deserialize, Serialize};

use crate::{Id, Timestamp};

/// Contract, schema `Organization`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Organization {
    pub id: Id,
    pub name: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub plan_id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_expire_time: Option<Timestamp>,
    pub subscription_started_at: Option<Timestamp>,
    /// Id of the owning user (free text, not a number for every provider).
    pub owner_id: String,
}
