//! Why a request was refused, in etcd's words where it has some: clients compare them.

use gantry_model::{Error, ErrorCode};
use tonic::{Code, Status};

/// How the feed's refusals of compacted and future revisions start; clients know the rest by heart.
const OUT_OF_RANGE: &str = "etcdserver: mvcc: required revision";

/// An error of the control plane as an etcd client should see it.
#[must_use]
pub fn status(error: Error) -> Status {
    let code = match error.code {
        ErrorCode::Internal => Code::Unavailable,
        ErrorCode::InvalidArgument if error.message.starts_with(OUT_OF_RANGE) => Code::OutOfRange,
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::Conflict | ErrorCode::InUse => Code::FailedPrecondition,
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::PermissionDenied | ErrorCode::PlanRequired => Code::PermissionDenied,
        ErrorCode::Unauthorized => Code::Unauthenticated,
        ErrorCode::QuotaExceeded | ErrorCode::TooManyRequests => Code::ResourceExhausted,
    };
    if error.code == ErrorCode::Internal {
        tracing::error!(error = &error as &dyn std::error::Error, "an etcd request failed");
    }
    Status::new(code, error.message)
}

/// An option or a call that this server does not have.
#[must_use]
pub fn unsupported(what: &str) -> Status {
    Status::unimplemented(format!("etcdserver: {what} is not supported by Gantry"))
}

/// A write to configuration: that is what the management API is for.
#[must_use]
pub fn read_only(call: &str) -> Status {
    Status::permission_denied(format!(
        "etcdserver: permission denied: {call} cannot change configuration, use the management API"
    ))
}

#[must_use]
pub fn key_missing() -> Status {
    Status::invalid_argument("etcdserver: key is not provided")
}

#[must_use]
pub fn nobody() -> Status {
    Status::unauthenticated(
        "etcdserver: present a client certificate of the cluster, or a token of /v3/auth/authenticate",
    )
}
