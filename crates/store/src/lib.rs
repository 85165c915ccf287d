//! SQL, and nothing else that knows SQL: one text for SQLite and PostgreSQL.
//!
//! Each file holds the queries of one noun. They take a [`Tx`] and decide nothing; what may be
//! secret arrives sealed.

pub mod access;
pub mod access_token;
pub mod alert_history;
pub mod alert_policy;
pub mod alert_webhook;
pub mod audit;
pub mod billing;
pub mod canary_release;
pub mod census;
pub mod cluster;
mod constraint;
mod db;
pub mod email_verification;
pub mod gateway;
pub mod instance;
mod list;
pub mod loaded_plugin;
pub mod member;
mod migrate;
pub mod openapi;
pub mod organization;
#[cfg(test)]
mod plans;
pub mod receipt;
pub mod reference;
pub mod region;
pub mod resource;
pub mod revision;
pub mod sealed;
pub mod secret;
pub mod service_admin;
pub mod session;
mod sqlite;
pub mod user;
mod writer;

pub use db::{Db, Statistics, Tx};
