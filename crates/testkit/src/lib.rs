//! What tests share: the real binary as a child process, databases to throw away, an HTTP client, a
//! mail server, a receiver of webhooks, an identity provider, a Redis, a Prometheus.
//!
//! Only for tests: everything panics with a readable sentence when it fails.

pub mod case;
pub mod client;
pub mod contract;
pub mod database;
pub mod identity_provider;
pub mod origin;
pub mod process;
pub mod prometheus;
pub mod receiver;
pub mod redis;
pub mod smtp;

pub use client::client;
pub use database::Database;
pub use identity_provider::{Browser, IdentityProvider};
pub use origin::Origin;
pub use process::Process;
pub use prometheus::Prometheus;
pub use receiver::Receiver;
pub use redis::Redis;
pub use smtp::MailServer;
