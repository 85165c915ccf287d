//! Alert policies: when people are told that something is wrong in a cluster.

use serde::{Deserialize, Serialize};

use crate::Id;
use crate::alert_webhook::Webhook;

/// Contract, schema `AlertPolicyCreate`.
#[derive(Clone, Debug, Deserialize)]
pub struct AlertPolicyCreate {
    pub name: String,
    pub description: Option<String>,
}

/// How serious an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    High,
    Medium,
    Low,
}

impl Severity {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::High => "high",
            Self::Medium => "medium",
            Self::Low => "low",
        }
    }
}

/// Contract, schema `AlertPolicyBasicInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPolicyBasicInfo {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Headline of the alert; without one it is the policy's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    pub class: String,
    pub source: String,
    /// Seconds between checks.
    pub check_interval: u32,
    pub severity: Severity,
    /// Whether an alert is told once, when its conditions begin to hold, and not again at each check
    /// that finds them holding still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suppress_repeats: bool,
    /// Addresses that get alerts by e-mail, beside webhooks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emails: Vec<String>,
}

/// Contract, schema `AlertPolicyDisabled`.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct AlertPolicyDisabled {
    /// `None` leaves the policy as it is.
    pub disabled: Option<bool>,
}

/// Contract, schema `TriggerSettings`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerSettings {
    pub trigger_logical_operator: TriggerOperator,
    pub trigger_conditions: Vec<TriggerCondition>,
}

/// How many of the conditions must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TriggerOperator {
    All,
    Any,
}

/// Contract, schema `TriggerCondition`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum TriggerCondition {
    NumberOfStatusCode(StatusCodeCondition),
    RatioOfStatusCode(StatusCodeCondition),
    ControlPlaneCertificateWillExpireIn(ThresholdCondition),
    GatewayCertificateWillExpireIn(ThresholdCondition),
    GatewayInstanceOffline(ThresholdCondition),
}

impl TriggerCondition {
    /// Name of the event, as conditions and templates spell it.
    #[must_use]
    pub fn event(&self) -> &'static str {
        match self {
            Self::NumberOfStatusCode(_) => "number_of_status_code",
            Self::RatioOfStatusCode(_) => "ratio_of_status_code",
            Self::ControlPlaneCertificateWillExpireIn(_) => {
                "control_plane_certificate_will_expire_in"
            }
            Self::GatewayCertificateWillExpireIn(_) => "gateway_certificate_will_expire_in",
            Self::GatewayInstanceOffline(_) => "gateway_instance_offline",
        }
    }
}

/// Names of the events, as conditions and templates spell them.
pub const EVENTS: [&str; 5] = [
    "number_of_status_code",
    "ratio_of_status_code",
    "control_plane_certificate_will_expire_in",
    "gateway_certificate_will_expire_in",
    "gateway_instance_offline",
];

/// Answers of one kind in a window of time (contract, schema `StatusCodeCondition`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCodeCondition {
    pub event_config: StatusCodeWindow,
    pub operator: Comparison,
    /// Answers, or percent of all answers for the ratio.
    pub value: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusCodeWindow {
    /// A code such as `502` or a class such as `5xx`.
    pub http_status_code: String,
    pub duration: i64,
    pub unit: TimeUnit,
}

/// How long until, or since (contract, schemas `CertificateExpiryCondition` and
/// `InstanceOfflineCondition`, which differ in operators and units).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThresholdCondition {
    pub operator: Comparison,
    pub value: i64,
    pub value_unit: TimeUnit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    LargerEqual,
    LargerThan,
    LessEqual,
    LessThan,
    Equal,
}

impl Comparison {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LargerEqual => "larger_equal",
            Self::LargerThan => "larger_than",
            Self::LessEqual => "less_equal",
            Self::LessThan => "less_than",
            Self::Equal => "equal",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    Second,
    Minute,
    Hour,
    Day,
    Month,
    Year,
}

impl TimeUnit {
    /// Length in seconds; a month has 30 days, a year 365.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Month => 30 * 86_400,
            Self::Year => 365 * 86_400,
        }
    }
}

/// What is stored of a policy besides its name and whether it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPolicySpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// `None` until it was set once; its description is the one above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_info: Option<AlertPolicyBasicInfo>,
    /// `None` until they were set once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub triggers: Option<TriggerSettings>,
}

/// Contract, schema `AlertPolicy`.
#[derive(Clone, Debug, Serialize)]
pub struct AlertPolicy {
    pub id: Id,
    pub cluster_id: Id,
    pub name: String,
    /// A new policy starts disabled.
    pub disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(flatten)]
    pub basic_info: Option<AlertPolicyBasicInfo>,
    #[serde(flatten)]
    pub triggers: Option<TriggerSettings>,
    pub webhooks: Vec<Webhook>,
    pub evaluation: Evaluation,
    /// Unix seconds.
    pub create_at: i64,
    /// Unix seconds.
    pub update_at: i64,
}

/// What checks of a policy have found; all times in Unix seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Evaluation {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<i64>,
    /// Absent while the policy is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_check_at: Option<i64>,
    /// Since when every check has found the conditions met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firing_since: Option<i64>,
    /// Why the last check came to no result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How often a policy would have told an alert, by what is known of the last days.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackTest {
    /// First and last moment that was looked at, Unix seconds.
    pub start: i64,
    pub end: i64,
    /// Moments that were looked at, one at each interval.
    pub checks: u64,
    /// Alerts that would have been told.
    pub fired: u64,
    /// The newest of their times, oldest first, Unix seconds.
    pub times: Vec<i64>,
    /// In words, why the newest of them would have been told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_told_apart_by_their_event() {
        let condition = json!({
            "event": "gateway_instance_offline", "operator": "larger_equal", "value": 5,
            "value_unit": "minute"
        });
        let read: TriggerCondition = serde_json::from_value(condition.clone()).unwrap();
        assert!(matches!(read, TriggerCondition::GatewayInstanceOffline(_)));
        assert_eq!(read.event(), condition["event"]);
        assert_eq!(serde_json::to_value(read).unwrap(), condition);
    }
}
