//! The nouns of Gantry and their rules: what goes over the management API and what is stored.
//!
//! Pure: no clock, no I/O, no async. Shapes and names follow `api/openapi.yaml`; what the contract
//! itself can check (lengths, patterns, required fields) is checked against it at the door and not
//! repeated here.

pub mod access_token;
pub mod alert_history;
pub mod alert_policy;
pub mod alert_webhook;
pub mod config;
pub mod error;
pub mod id;
pub mod instance;
pub mod member;
pub mod metrics;
pub mod organization;
pub mod page;
pub mod plan;
pub mod receipt;
pub mod region;
pub mod role;
pub mod secret;
pub mod service_admin;
pub mod time;
pub mod user;

pub use error::{Error, ErrorCode, Result, Violation};
pub use id::Id;
pub use page::{Direction, ListQuery, Page};
pub use secret::Secret;
pub use time::Timestamp;
