//! Alerts that were sent: one entry for each request to a webhook.

use serde::{Deserialize, Serialize};

use crate::Id;
use crate::alert_policy::Severity;

/// Days after which entries are forgotten.
pub const KEEP_DAYS: i64 = 30;

/// What happened, with copies of all names: policy and webhook may change or go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Delivery {
    pub alert_policy_id: Id,
    pub alert_policy_name: String,
    pub webhook_id: Id,
    pub webhook_name: String,
    pub severity: Severity,
    pub description: String,
    /// 0 failed, 1 delivered.
    pub status: u8,
    /// What was sent; the values of headers are masked already.
    pub http_request: String,
    /// What came back.
    pub http_response: String,
}

/// Contract, schema `AlertHistory`.
#[derive(Clone, Debug, Serialize)]
pub struct AlertHistory {
    pub id: Id,
    pub cluster_id: Id,
    #[serde(flatten)]
    pub delivery: Delivery,
    /// Unix seconds.
    pub create_at: i64,
}
