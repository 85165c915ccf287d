//! An API: paths of one application and how requests to them are treated.

use serde::{Deserialize, Serialize};

use super::{Application, Expression, PUBLISHED, Plugins, Relationship, null_as_default};
use crate::{Id, Timestamp};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PathType {
    /// Literal prefix: `/products` also matches `/products123` (design §4).
    #[default]
    Prefix,
    Exact,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiPath {
    /// Below the application's prefix; empty is the prefix itself.
    pub path: String,
    #[serde(default)]
    pub path_type: PathType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ApiType {
    #[default]
    Rest,
    WebSocket,
}

/// Contract, schema `FineGrainedRouteControl`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteControl {
    #[serde(default)]
    pub enabled: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    pub logical_relationship: Relationship,
    #[serde(default, deserialize_with = "null_as_default")]
    pub expressions: Vec<Expression>,
}

/// Contract, schema `APISpec`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApiSpec {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(deserialize_with = "null_as_default")]
    pub paths: Vec<ApiPath>,
    /// Empty matches every method.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_as_default")]
    pub methods: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fine_grained_route_control: Option<RouteControl>,
    #[serde(default)]
    pub strip_path_prefix: bool,
    #[serde(default, deserialize_with = "null_as_default")]
    pub plugins: Plugins,
    #[serde(default, deserialize_with = "null_as_default")]
    pub labels: Vec<String>,
    #[serde(default)]
    pub active: u8,
    #[serde(default, rename = "type")]
    pub kind: ApiType,
}

impl ApiSpec {
    #[must_use]
    pub fn is_published(&self) -> bool {
        self.active == PUBLISHED
    }
}

/// Contract, schema `API`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Api {
    pub id: Id,
    pub app_id: Id,
    pub status: i32,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    #[serde(flatten)]
    pub spec: ApiSpec,
}

/// Contract, schema `APIWithApplication`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ApiWithApplication {
    #[serde(flatten)]
    pub api: Api,
    pub application: Application,
}
