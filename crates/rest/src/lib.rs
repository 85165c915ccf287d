//! HTTP in, HTTP out: the management API of the contract. No decisions are taken here.

pub mod contract;
