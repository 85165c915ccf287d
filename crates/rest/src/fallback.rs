//! Answers where no handler is: unknown paths and wrong methods.

use axum::extract::OriginalUri;
use gantry_model::{Error, ErrorCode};
use http::{Method, StatusCode};

use crate::error::Failure;

pub async fn unknown_path(OriginalUri(uri): OriginalUri) -> Failure {
    let message = format!("no operation has the path `{}`; see /api/openapi.json", uri.path());
    Error::new(ErrorCode::NotFound, message).into()
}

/// The router adds the header `Allow`.
pub async fn wrong_method(method: Method) -> Failure {
    let message = format!("{method} is not among the methods of this path");
    Failure::http(StatusCode::METHOD_NOT_ALLOWED, ErrorCode::InvalidArgument, message)
}
