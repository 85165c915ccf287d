//! Time series of gateways, in files of their own: accepts reports, keeps them for a while, answers
//! range queries. Knows neither the database nor what its numbers mean to people.
//!
//! One folder per cluster. What arrives is appended to a log (`wal`) and held in memory (`head`);
//! after two hours both become one immutable, compressed file (`block`). Blocks of a day become one,
//! and old ones are thinned out so that counters still give right rates (`compact`). Values count as
//! PromQL counts them (`range`), so that any Prometheus would answer the same.

mod block;
mod cluster;
mod codec;
mod compact;
mod gather;
mod head;
pub mod key;
mod name;
pub mod range;
mod record;
pub mod report;
mod store;
pub mod text;
mod wal;

pub use cluster::{Error, Kept, Outcome, Selection};
pub use key::Key;
pub use report::{Report, Sample};
pub use store::{Options, Store};
