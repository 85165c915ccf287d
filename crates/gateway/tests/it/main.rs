//! The gateway from outside: real sockets, a small etcd in this process, origins that answer.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bodies;
mod cache;
mod cases;
mod clients;
mod discovery;
mod ending;
mod etcd;
mod forward_auth;
mod grpc;
mod harness;
mod health;
mod held_bodies;
mod kubernetes;
mod loggers;
mod node;
mod openid_connect;
mod operation;
mod real_etcd;
mod receivers;
mod resilience;
mod routing;
mod secrets;
mod stand_in;
mod tls;
mod tracers;
mod upstreams;
