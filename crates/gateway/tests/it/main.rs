//! The gateway from outside: real sockets, a small etcd in this process, origins that answer.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod bodies;
mod cache;
mod cases;
mod clients;
mod closed;
mod compression;
mod discovery;
mod empty;
mod ending;
mod etcd;
mod filters;
mod forward_auth;
mod grpc;
mod grpc_web;
mod harness;
mod health;
mod held_bodies;
mod kafka;
mod kept;
mod kubernetes;
mod limits;
mod loggers;
mod node;
mod openid_connect;
mod operation;
mod proxy_cache;
mod real_etcd;
mod receivers;
mod resilience;
mod routing;
mod scripted;
mod secrets;
mod sentinels;
mod stand_in;
mod tls;
mod tracers;
mod traffic;
mod upstreams;
