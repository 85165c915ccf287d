//! Webhooks of alert policies: where alerts are posted.

use serde::{Deserialize, Serialize};

use crate::Id;

/// Webhooks one policy may have (facts about the product's sibling).
pub const WEBHOOKS_MAX: usize = 10;

/// What a caller writes of contract schema `Webhook`. `Serialize` is for sealed storage; answers and
/// the audit get it with header values masked.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookSpec {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// http or https.
    pub url: String,
    #[serde(default)]
    pub method: WebhookMethod,
    pub skip_tls_verify: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<WebhookHeader>,
    /// Body of the request, a Go text template.
    pub template: String,
    /// Signs requests; without one they are not signed. Shown to nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

impl std::fmt::Debug for WebhookSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookSpec").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookMethod {
    #[default]
    #[serde(rename = "POST")]
    Post,
}

/// Contract, schema `WebhookHeader`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookHeader {
    pub name: String,
    pub value: String,
}

/// Contract, schema `Webhook`, as callers see it.
#[derive(Clone, Debug, Serialize)]
pub struct Webhook {
    pub id: Id,
    #[serde(flatten)]
    pub spec: WebhookSpec,
    /// Unix seconds.
    pub create_at: i64,
    /// Unix seconds.
    pub update_at: i64,
}

/// What came of a request that was sent to try a webhook out.
#[derive(Clone, Debug, Serialize)]
pub struct WebhookTrial {
    /// 0 failed, 1 delivered.
    pub status: u8,
    /// What was sent; the values of headers are masked.
    pub http_request: String,
    /// What came back, or why nothing did.
    pub http_response: String,
}
