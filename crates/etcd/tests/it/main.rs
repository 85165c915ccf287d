//! The port gateways connect to, from outside: real TLS, real clients.

mod apisix;
mod etcdctl;
mod grpc;
mod identity;
mod presence;
mod storm;
mod support;
mod watch;
