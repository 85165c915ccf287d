//! People who sign in.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::member::Member;
use crate::{Id, Timestamp};

/// `connection` of users who sign in with a password.
pub const LOCAL: &str = "local";

/// Contract, schema `User`.
#[derive(Clone, Debug, Serialize)]
pub struct User {
    pub id: String,
    pub first_name: String,
    pub last_name: String,
    pub email: String,
    pub org_ids: Vec<Id>,
    /// Memberships, oldest first, as `org_ids`.
    pub members: Vec<Member>,
    pub product_tour: ProductTour,
    /// How the user signs in: `local`, or the issuer of an identity provider.
    pub connection: String,
    pub avatar_url: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// Contract, schema `ProductTour`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProductTour {
    /// Whether the user has closed the tour.
    pub dismiss: bool,
    /// Steps as the client sent them.
    pub checklist: Vec<Map<String, Value>>,
}

/// Contract, schema `UserUpdate`.
#[derive(Clone, Debug, Deserialize)]
pub struct UserUpdate {
    pub first_name: String,
    pub last_name: String,
}

/// Contract, schema `LoginResult`.
#[derive(Clone, Debug, Serialize)]
pub struct LoginResult {
    /// Bearer token of the session.
    pub token: String,
    pub expire: Timestamp,
    pub user: User,
}
