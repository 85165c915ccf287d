//! Failures as answers. The only file that knows which code has which status (design §4).

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use gantry_model::{Error, ErrorCode};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;

use crate::answer::{Envelope, Status};

/// An error on its way out. `status` is the code's own, unless HTTP has a better word.
pub struct Failure {
    pub error: Error,
    pub status: StatusCode,
}

/// An internal error, handed to the log through the extensions of its response.
#[derive(Clone)]
pub struct Logged(pub Arc<Error>);

impl Failure {
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error::internal(source).into()
    }

    /// A request that HTTP itself has a status for.
    pub fn http(status: StatusCode, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { error: Error::new(code, message), status }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = status_of(error.code);
        Self { error, status }
    }
}

pub fn status_of(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
        ErrorCode::Conflict | ErrorCode::InUse => StatusCode::CONFLICT,
        ErrorCode::NotFound => StatusCode::NOT_FOUND,
        ErrorCode::PermissionDenied | ErrorCode::QuotaExceeded | ErrorCode::PlanRequired => {
            StatusCode::FORBIDDEN
        }
        ErrorCode::Unauthorized => StatusCode::UNAUTHORIZED,
        ErrorCode::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self { error, status } = self;
        let envelope: Envelope<'_, ()> = Envelope {
            status: Status { code: error.code as i32, message: error.code.text() },
            payload: None,
            error: Some(&error.message),
            warning: None,
            preview: None,
            delivery: None,
        };
        let mut response = envelope.respond(status);
        if status == StatusCode::UNAUTHORIZED {
            let challenge = http::HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            response.extensions_mut().insert(Logged(Arc::new(error)));
        }
        response
    }
}
