//! Metrics of a cluster: what gateways report and what is answered about it.

use axum::Extension;
use gantry_app::App;
use gantry_app::gateway::{Identity, Via};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Person, Server, on_both};

const PATH: &str = "/api/v1/dp/metrics";
const RUNS: [&str; 2] =
    ["3f2b8c1e-5d1f-4a52-9a44-0d6c7e0f9b11", "7d1a0c52-9a44-4a52-8c1e-0f9b113f2b8c"];
/// 2027-01-15T08:00:00Z, a whole hour.
const START: i64 = 1_800_000_000;
