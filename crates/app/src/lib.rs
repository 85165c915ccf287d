//! Use cases: opens transactions, decides, records. Knows neither HTTP nor SQL.
//!
//! Every function takes `&Cx` (who asks, in which request) or, where nobody has signed in yet,
//! `&App`. Configuration is changed through `change` only, which takes the next revision.

pub mod access;
pub mod access_token;
mod act;
pub mod alert_history;
pub mod alert_policy;
mod alert_template;
mod alert_trigger;
pub mod alert_webhook;
pub mod api;
pub mod application;
pub mod audit;
pub mod billing;
mod ca;
pub mod certificate;
mod change;
mod check;
pub mod clock;
pub mod cluster;
pub mod compat;
pub mod consumer;
mod context;
pub mod debug;
mod dependents;
pub mod email_verification;
pub mod feed;
pub mod gateway;
pub mod housekeeping;
mod ids;
pub mod invitation;
pub mod label;
pub mod loaded_plugin;
pub mod log_collection;
pub mod mail;
mod mask;
pub mod member;
pub mod metrics;
mod object;
pub mod oidc;
pub mod organization;
mod password;
pub mod plan;
pub mod plugin;
pub mod plugin_reference;
pub mod preview;
mod reconcile;
pub mod region;
pub mod rotation;
pub mod sample;
mod seal;
pub mod service_admin;
pub mod service_registry;
pub mod session;
pub mod setup;
mod subject;
mod surroundings;
mod throttle;
mod token;
pub mod user;

pub use clock::Clock;
pub use context::{Actor, App, Config, Cx, Written};
pub use gantry_store::resource::Kind;
