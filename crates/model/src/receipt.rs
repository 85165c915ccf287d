//! Receipts: what became of a configuration revision on the gateways of its cluster.

use serde::Serialize;

use crate::Timestamp;
use crate::instance::{InstanceStatus, Problem};

/// What became of a revision on one gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReceiptState {
    /// In use, and nothing that it brought was refused.
    Applied,
    /// In use but for what `problems` names.
    Refused,
    /// The gateway uses something else than the revision says; it is told to read everything again.
    Differs,
    /// The gateway speaks and uses an older revision.
    Behind,
    /// The gateway has not been heard of lately and had an older revision then.
    Silent,
    /// The gateway does not acknowledge: nothing of ours runs in it.
    Unknown,
}

/// One gateway's word on a revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipt {
    pub instance_id: String,
    pub hostname: String,
    pub state: ReceiptState,
    pub status: InstanceStatus,
    /// Revision that the gateway uses now.
    pub config_version: i64,
    /// When the server learnt that the revision, or one after it, is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied_at: Option<Timestamp>,
    /// Milliseconds from the commit until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<i64>,
    /// Digest of what the gateway used then.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// What of the revision it could not use.
    pub problems: Vec<Problem>,
}

/// What became of one revision on every gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Receipts {
    pub revision: i64,
    pub committed_at: Timestamp,
    pub actor: String,
    pub operation: String,
    /// What gateways at exactly this revision should report.
    pub digest: String,
    pub count: usize,
    pub list: Vec<Receipt>,
}

/// How a write that waited for gateways ended. It is committed in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// As many as wanted use it.
    Applied,
    /// So many could not use all of it that the wish cannot be fulfilled.
    Refused,
    /// Time was up.
    Timeout,
    /// There is no gateway to wait for.
    NoGateways,
}

impl Outcome {
    /// The word on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::NoGateways => "no_gateways",
        }
    }
}

/// What a write that waited for gateways learnt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Delivery {
    pub revision: i64,
    pub outcome: Outcome,
    /// Gateways that were online when the wait began.
    pub gateways: usize,
    /// How many of them had to apply it.
    pub wanted: usize,
    /// How many did.
    pub applied: usize,
    /// Those that did not, and those that have been silent for longer: the first hundred.
    pub missing: Vec<Receipt>,
}
