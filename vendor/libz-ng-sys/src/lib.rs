//! Stands in for the crate of the same name (see `[patch.crates-io]` in the workspace's manifest).
//!
//! pingora-core asks flate2 for its zlib-ng backend, whose build script needs cmake, which a fresh
//! machine lacks. Plain zlib has the same interface and needs only the C compiler that SQLite needs
//! anyway.
#![no_std]
pub use libz_sys::*;
