//! Plans, what organizations owe, and what plans allow.

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{Id, Timestamp};

/// What an organization may use and what it pays (contract, schema `Plan`). The operator writes
/// plans into a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// A positive number.
    #[serde(deserialize_with = "number")]
    pub id: Id,
    pub name: String,
    #[serde(default)]
    pub description: String,
    /// In the smallest unit of the currency, for a million API calls.
    #[serde(default)]
    pub price_per_million_calls: i64,
    /// ISO code in lower case.
    #[serde(default = "usd")]
    pub currency: String,
    /// Days after which a subscription ends, for trials; absent is never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_days: Option<u32>,
    #[serde(default)]
    pub quotas: Quotas,
    /// Names of plugins, or of `acl`, `authentication` and `logging`.
    #[serde(default)]
    pub excluded_plugins: Vec<String>,
    /// Id of the price at Stripe; absent if nothing is paid.
    #[serde(default, skip_serializing)]
    pub stripe_price: Option<String>,
}

/// Most of each that an organization may have, all of its clusters together; absent is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quotas {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clusters: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applications: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apis: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumers: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificates: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_collections: Option<u32>,
    /// In a calendar month; beyond it nothing can be added, traffic goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_calls_per_month: Option<u64>,
}

fn usd() -> String {
    "usd".into()
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let number = i64::deserialize(deserializer)?;
    Id::new(number).ok_or_else(|| de::Error::custom("an id must be a positive number"))
}

impl Plan {
    /// The plan of an installation without a file of plans: everything, for nothing.
    #[must_use]
    pub fn self_hosted() -> Self {
        Self {
            id: Id::ONE,
            name: "Self-hosted".into(),
            description: "Everything, without limits.".into(),
            price_per_million_calls: 0,
            currency: usd(),
            duration_days: None,
            quotas: Quotas::default(),
            excluded_plugins: Vec::new(),
            stripe_price: None,
        }
    }

    /// Price of a number of API calls, in the smallest unit of the currency, rounded half up.
    #[must_use]
    pub fn price(&self, calls: i64) -> i64 {
        let exact = i128::from(calls) * i128::from(self.price_per_million_calls);
        i64::try_from((exact + 500_000).div_euclid(1_000_000)).unwrap_or(i64::MAX)
    }
}

impl Quotas {
    /// The limit for a kind of resource and its name.
    #[must_use]
    pub fn of_kind(&self, kind: &str) -> Option<(&'static str, u32)> {
        let (name, limit) = match kind {
            "application" => ("applications", self.applications),
            "api" => ("apis", self.apis),
            "consumer" => ("consumers", self.consumers),
            "certificate" => ("certificates", self.certificates),
            "log_collection" => ("log_collections", self.log_collections),
            _ => return None,
        };
        limit.map(|limit| (name, limit))
    }
}

/// What a caller sends to change its plan (contract, schema `SubscriptionCreate`).
#[derive(Clone, Debug, Deserialize)]
pub struct SubscriptionCreate {
    /// Name or id of a plan.
    pub plan: String,
}

/// The next bill (contract, schema `Invoice`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// ISO code in lower case.
    pub currency: String,
    /// In the smallest unit of the currency, as all amounts.
    pub amount_due: i64,
    pub period_start: Timestamp,
    pub period_end: Timestamp,
    /// `None` if nothing will be collected.
    pub next_payment_attempt: Option<Timestamp>,
    pub lines: Vec<InvoiceLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceLine {
    pub description: String,
    pub quantity: i64,
    pub amount: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_priced_by_the_million() {
        let plan = Plan { price_per_million_calls: 150, ..Plan::self_hosted() };
        assert_eq!(plan.price(0), 0);
        assert_eq!(plan.price(1_000_000), 150);
        assert_eq!(plan.price(10_000), 2, "1.5 is rounded up");
        assert_eq!(plan.price(9_999), 1);
        assert_eq!(plan.price(i64::MAX), 1_383_505_805_528_216);
    }
}
