//! The management API over HTTP, on a real server with a real database.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod account;
mod acl;
mod alert_history;
mod alert_policy;
mod alert_webhook;
mod alerting;
mod api;
mod application;
mod authorization;
mod billing;
mod canary_release;
mod certificate;
mod cluster;
mod consumer;
mod every_operation;
mod harness;
mod heartbeat;
mod http_rules;
mod invitation;
mod list;
mod loaded_plugin;
mod log_collection;
mod member;
mod metrics;
mod mutation;
mod oidc;
mod openapi;
mod organization;
mod plugin_rules;
mod read_only;
mod receipt;
mod sdk;
mod secrets;
mod service_admin;
mod service_registry;
mod session;
mod stripe;
mod success;
mod user;
