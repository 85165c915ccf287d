//! Service admins: members who look after single applications.

use serde::{Deserialize, Serialize};

use crate::{Id, Timestamp};

/// Contract, schema `ServiceAdmin`.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceAdmin {
    pub member_id: Id,
    pub app_id: Id,
    /// Empty until the member has accepted the invitation.
    pub user_id: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Contract, schema `ServiceAdminAdd`.
#[derive(Clone, Debug, Deserialize)]
pub struct ServiceAdminAdd {
    pub items: Vec<ServiceAdminItem>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ServiceAdminItem {
    pub member_id: Id,
}
