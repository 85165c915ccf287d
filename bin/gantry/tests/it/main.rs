//! The product from outside: the real binary, real sockets, real TLS, real files.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod admin;
mod agent;
mod alerts;
mod canary_release;
mod dev;
mod faults;
mod harness;
mod metrics;
mod plugins;
mod real_etcd;
mod registry;
mod resync;
mod standalone;
mod swaps;
mod telemetry;
mod tls;
mod upgrade;
mod usage;
mod walking;
