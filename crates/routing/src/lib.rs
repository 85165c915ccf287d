//! What the gateway runs and the server validates: APISIX resources, plugin schemas, expressions,
//! and the tables that find a route for a request or a certificate for a server name.
//!
//! Pure: no I/O, no clock, no async. Both sides link this crate, so what the server accepts is what
//! the gateway can run.

// What arrives here must not be able to stop a gateway.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice
    )
)]

pub mod digest;
pub mod expr;
pub mod json_path;
pub mod path;
pub mod plugin;
pub mod regex;
pub mod resource;
pub mod route;
mod schema;
pub mod shards;
pub mod sni;
pub mod table;
mod trie;
pub mod vars;

pub use schema::{OwnSchema, Violation, sentence};
