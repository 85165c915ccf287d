//! Why a template cannot be used, and where.

use std::fmt;

/// What is wrong at a place of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// From 1.
    pub line: usize,
    /// Letters from the start of the line, from 1.
    pub column: usize,
    pub reason: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.reason)
    }
}

impl std::error::Error for Error {}

impl Error {
    pub(crate) fn locate(source: &str, fault: &Fault) -> Self {
        let before = source.get(..fault.at).unwrap_or(source);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            reason: fault.reason.clone(),
        }
    }
}

/// An [`Error`] before anybody has counted lines.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    /// Offset in bytes.
    pub at: usize,
    pub reason: String,
}

pub(crate) fn fault<T>(at: usize, reason: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, reason: reason.into() })
}
