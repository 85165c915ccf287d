//! The control plane without its doors, on SQLite and on PostgreSQL.

mod feed;
mod gateway;
mod harness;
mod resources;
mod tenancy;
