//! The second front door of the control plane: etcd v3, as far as gateways need it.
//!
//! Stock Apache APISIX speaks etcd's JSON gateway over HTTP/1.1 ([`json`]), Gantry's own gateway and
//! `etcdctl` speak gRPC ([`grpc`]); both forms share everything else. Configuration is read only
//! here. Every client sees its own cluster under `/apisix/`, and which one that is follows from its
//! certificate or token ([`identity`]), never from what it asks for.

mod error;
mod grpc;
mod identity;
mod json;
mod key;
mod kv;
mod lease;
mod presence;
mod server;
mod space;
mod watch;

pub use server::serve;
