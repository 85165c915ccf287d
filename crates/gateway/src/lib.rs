//! The data plane: reads configuration from etcd or Gantry and proxies requests by it.
//!
//! `sync` brings resources, `compile` turns each into what `snapshot` holds, requests keep one
//! snapshot from their first to their last byte, and `proxy` is the plot of a request.

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

pub mod answer;
mod body;
mod cache;
pub mod chain;
mod clock;
mod compile;
mod configuration;
pub mod consumer;
pub mod exchange;
mod exposition;
#[cfg(test)]
mod fuzz;
mod gathered;
mod handover;
mod head;
mod heartbeat;
mod kafka;
mod listen;
pub mod log;
mod machine;
mod metrics;
mod monitor;
mod options;
mod part;
pub mod plugin;
pub mod plugin_set;
mod proxy;
mod proxy_protocol;
pub mod request;
pub mod route;
mod run;
mod scrape;
mod secrets;
pub mod snapshot;
mod sockets;
mod state;
pub mod status;
mod sync;
pub mod template;
pub mod tls;
pub mod upstream;
mod worker;
mod zone;

pub use options::{Bound, ClientOptions, Options};
pub use plugin::metrics::SeriesOptions;
pub use run::{Error, run};
pub use sync::{Etcd, Login, Source, SourceTls};
pub use zone::{CacheOptions, ZoneOptions};
