//! Translation from outside: the documents of the specification, and what is refused.

mod api;
mod application;
mod build;
mod cluster;
mod refusals;
