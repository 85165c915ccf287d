//! The port gateways connect to, from outside: real TLS, real clients.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod apisix;
mod etcdctl;
mod grpc;
mod identity;
mod storm;
mod support;
mod watch;
