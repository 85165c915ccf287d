//! The data plane: reads configuration from etcd or Gantry, proxies requests by it.
//!
//! `sync` brings resources, `compile` turns each into what `snapshot` holds, requests keep one
//! snapshot from their first to their last byte, and `proxy` is the plot of a request.

pub mod answer;
pub mod chain;
pub mod consumer;
pub mod exchange;
pub mod plugin;
pub mod route;
pub mod snapshot;
pub mod upstream;
