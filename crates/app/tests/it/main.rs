//! The control plane without its doors, on SQLite and on PostgreSQL.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod alerting;
mod alerting_apart;
mod audit;
mod consumer_jwt;
mod feed;
mod gateway;
mod harness;
mod heartbeat;
mod history;
mod lists;
mod loaded_plugin;
mod metrics;
mod ownership;
mod receipt;
mod resources;
mod rotation;
mod service_registry;
mod tenancy;
