//! HTTP in, HTTP out: the management API of the contract. No decisions are taken here.
//!
//! [`routes`] is the whole API on one page, [`contract`] the rules every request is checked against,
//! [`gate`] what happens before a handler. Handlers unwrap, call `app` and wrap.

pub mod contract;
pub mod routes;

mod answer;
mod compat;
mod error;
mod extract;
mod fallback;
mod frame;
mod gate;
mod html;

mod access_token;
mod agent;
mod alert_history;
mod alert_policy;
mod api;
mod application;
mod billing;
mod canary_release;
mod certificate;
mod cluster;
mod consumer;
mod debug;
mod docs;
mod heartbeat;
mod instance;
mod invitation;
mod label;
mod loaded_plugin;
mod log_collection;
mod member;
mod metrics;
mod openapi;
mod organization;
mod plugin;
mod probe;
mod region;
mod role;
mod service_admin;
mod service_registry;
mod session;
mod user;

pub use gate::{BODY_BYTES_MAX, SESSION_COOKIE};
pub use routes::{dp_router, operator_router, router};
