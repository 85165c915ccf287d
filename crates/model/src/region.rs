//! Where a control plane runs. A self-hosted installation has one region.

use serde::{Deserialize, Serialize};

use crate::{Id, Timestamp};

/// Contract, schema `Region`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Region {
    pub id: Id,
    pub name: String,
    /// Cloud vendor, or `self-hosted`.
    pub provider: String,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}
