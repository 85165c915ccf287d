//! The product from outside: the real binary, real sockets, real TLS, real files.

mod admin;
mod dev;
mod faults;
mod harness;
mod real_etcd;
mod walking;
