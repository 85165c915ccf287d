//! Alerts: one entry for each webhook or address that is to get one.

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
    /// Absent where the alert goes by e-mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_id: Option<Id>,
    /// The address, where the alert goes by e-mail.
    pub webhook_name: String,
    pub severity: Severity,
    pub description: String,
    /// 0 not delivered, 1 delivered.
    pub status: u8,
    /// What was sent last; the values of headers are masked already.
    pub http_request: String,
    /// What came back, or why nothing did.
    pub http_response: String,
    /// Every attempt, oldest first.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// One attempt to deliver an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Unix seconds.
    pub at: i64,
    /// What came of it, such as `204 No Content`.
    pub outcome: String,
}

/// Contract, schema `AlertHistory`.
#[derive(Clone, Debug, Serialize)]
pub struct AlertHistory {
    pub id: Id,
    pub cluster_id: Id,
    #[serde(flatten)]
    pub delivery: Delivery,
    /// When it is sent, or sent again; absent once it was delivered or given up. Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<i64>,
    /// Unix seconds.
    pub create_at: i64,
}
