//! Members: who belongs to an organization, and with which roles.

use serde::{Deserialize, Serialize};

use crate::role::Role;
use crate::{Id, Timestamp};

/// Seconds until an invitation ends.
pub const INVITATION_S: i64 = 7 * 24 * 3600;

/// Contract, schema `Member`.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    pub id: Id,
    pub org_id: Id,
    /// Empty until the invitation is accepted.
    pub user_id: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub roles: Vec<Role>,
    pub role_bindings: Vec<RoleBinding>,
    pub state: MemberState,
    /// 50, ready.
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    /// Only in the answer to an invitation that could not be sent by mail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invitation_link: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum MemberState {
    /// Invited.
    Pending,
    Active,
}

/// Contract, schema `RoleBinding`: a role, and the cluster it is given for if it is one of clusters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleBinding {
    #[serde(default)]
    pub role_id: Option<Id>,
    #[serde(default)]
    pub cluster_id: Option<Id>,
}

/// Contract, schema `MemberCreate`; one of `role_id` and `role_ids` is there.
#[derive(Clone, Debug, Deserialize)]
pub struct MemberCreate {
    pub email: String,
    #[serde(default)]
    pub role_id: Option<String>,
    #[serde(default)]
    pub role_ids: Vec<String>,
    /// Gantry's addition: for which cluster roles of clusters are given.
    #[serde(default)]
    pub cluster_id: Option<Id>,
}
