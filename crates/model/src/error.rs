//! The one error of the control plane: a code that clients branch on and a sentence they can act on.
//!
//! HTTP statuses live in `rest`, gRPC codes in `etcd`; nothing below them knows either.

use std::error::Error as StdError;
use std::fmt;

pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as a number of the API (design §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    Internal = 1,
    InvalidArgument = 2,
    Conflict = 3,
    NotFound = 4,
    PermissionDenied = 5,
    Unauthorized = 6,
    InUse = 7,
    QuotaExceeded = 8,
    PlanRequired = 9,
    TooManyRequests = 10,
}

impl ErrorCode {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 10] = [
        Self::Internal,
        Self::InvalidArgument,
        Self::Conflict,
        Self::NotFound,
        Self::PermissionDenied,
        Self::Unauthorized,
        Self::InUse,
        Self::QuotaExceeded,
        Self::PlanRequired,
        Self::TooManyRequests,
    ];

    /// The short text that stands next to the number in `status.message`.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Internal => "internal error",
            Self::InvalidArgument => "invalid argument",
            Self::Conflict => "conflict",
            Self::NotFound => "not found",
            Self::PermissionDenied => "permission denied",
            Self::Unauthorized => "unauthorized",
            Self::InUse => "resource in use",
            Self::QuotaExceeded => "quota exceeded",
            Self::PlanRequired => "plan required",
            Self::TooManyRequests => "too many requests",
        }
    }
}

/// One broken rule of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `upstreams[0].upstream.targets[1].port`.
    pub field: String,
    /// The rule, as the end of a sentence that starts with the field: "must be 1 to 65535".
    pub rule: String,
    /// A value that would be accepted, as JSON text; empty when none can be given.
    pub example: String,
}

impl Violation {
    pub fn new(
        field: impl Into<String>,
        rule: impl Into<String>,
        example: impl Into<String>,
    ) -> Self {
        Self { field: field.into(), rule: rule.into(), example: example.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.field, self.rule)?;
        if !self.example.is_empty() {
            write!(f, ", for example {}", self.example)?;
        }
        Ok(())
    }
}

/// Why a call failed.
///
/// `message` is for the caller and never holds a secret; `source` is for the log and never leaves
/// the server.
#[derive(Debug)]
pub struct Error {
    pub code: ErrorCode,
    pub message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// A failure of ours: the caller learns nothing but that it happened.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            code: ErrorCode::Internal,
            message: "the server failed to handle this request; its log has the reason".into(),
            source: Some(source.into()),
        }
    }

    /// All broken rules of a request at once.
    #[must_use]
    pub fn invalid(violations: &[Violation]) -> Self {
        let rules: Vec<String> = violations.iter().map(ToString::to_string).collect();
        Self::new(ErrorCode::InvalidArgument, rules.join("; "))
    }

    /// One broken rule of a request.
    pub fn invalid_field(
        field: impl Into<String>,
        rule: impl Into<String>,
        example: impl Into<String>,
    ) -> Self {
        Self::invalid(&[Violation::new(field, rule, example)])
    }

    /// The same answer for ids that never existed and ids of others.
    #[must_use]
    pub fn not_found(noun: &str) -> Self {
        Self::new(ErrorCode::NotFound, format!("no such {noun}"))
    }

    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    pub fn in_use(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InUse, message)
    }

    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unauthorized, message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::PermissionDenied, message)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
