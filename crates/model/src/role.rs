//! Roles, as they are listed: what members may do.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::Id;

/// Contract, schema `Role`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Role {
    pub id: Id,
    pub name: String,
    pub org_id: Id,
    /// Whether it is the role of the one owner.
    pub owner: bool,
    pub scope: RoleScope,
    pub permissions: Permissions,
}

/// Where a role applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RoleScope {
    Organization,
    /// In the cluster that the role is given for.
    Cluster,
}

/// Rights on the resources of one area, by the resource's name.
pub type Rights = BTreeMap<String, Methods>;

/// Contract, schema `Permissions`: rights by area.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Permissions {
    pub organization: Rights,
    pub cluster: Rights,
    pub billing: Rights,
    pub api_management: Rights,
}

/// Contract, schema `Methods`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Methods {
    pub get: bool,
    pub put: bool,
    pub post: bool,
    pub patch: bool,
    pub delete: bool,
}
