//! The part of the etcd v3 protocol that gateways and `etcdctl` use: messages, clients and servers.
//!
//! `proto/*.proto` is the source, `src/gen` is generated from it and committed, so a build needs no
//! protobuf compiler. A test generates again, compares, and says what to copy when they differ.

/// The services and their messages: `KV`, `Watch`, `Lease`, `Auth`, `Maintenance`, `Cluster`.
#[rustfmt::skip]
#[path = "gen/etcdserverpb.rs"]
#[allow(unused_qualifications, clippy::all)]
pub mod etcdserverpb;

/// Keys, values and events.
#[rustfmt::skip]
#[path = "gen/mvccpb.rs"]
#[allow(unused_qualifications, clippy::all)]
pub mod mvccpb;
