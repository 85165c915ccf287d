//! The store through its public surface.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod compact;
mod laws;
mod store;
