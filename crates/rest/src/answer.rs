//! Answers: a payload in the envelope of the contract, always with status 200.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use gantry_app::Written;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::Failure;

/// Revision of the cluster's configuration after a write (design §2.5).
pub const REVISION: HeaderName = HeaderName::from_static("gantry-revision");

/// What a handler returns.
pub type Reply<T> = Result<Answer<T>, Failure>;

/// A success: `T` is the payload, `()` stands for none.
pub struct Answer<T> {
    payload: Option<T>,
    warning: Option<String>,
    revision: Option<i64>,
    cookie: Option<HeaderValue>,
}

impl<T> Answer<T> {
    #[must_use]
    pub fn new(payload: T) -> Self {
        Self { payload: Some(payload), warning: None, revision: None, cookie: None }
    }

    /// The object a write left behind, with the revision that carries it to the gateways.
    #[must_use]
    pub fn written(written: Written<T>) -> Self {
        let Written { value, revision, warning } = written;
        Self { payload: Some(value), warning, revision: Some(revision), cookie: None }
    }

    /// Sets a cookie along with the answer.
    #[must_use]
    pub fn with_cookie(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// The same answer around another payload.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { payload, warning, revision, cookie } = self;
        Answer { payload: payload.map(change), warning, revision, cookie }
    }
}

impl Answer<()> {
    #[must_use]
    pub fn empty() -> Self {
        Self { payload: None, warning: None, revision: None, cookie: None }
    }

    /// A write that leaves nothing to show.
    #[must_use]
    pub fn done<T>(written: Written<T>) -> Self {
        let answer = Answer::written(written);
        Self { payload: None, warning: answer.warning, revision: answer.revision, cookie: None }
    }
}

/// The wrapper around every answer (contract, schema `Envelope`).
#[derive(Serialize)]
pub struct Envelope<'a, T> {
    pub status: Status<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload: Option<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<&'a str>,
}

#[derive(Serialize)]
pub struct Status<'a> {
    pub code: i32,
    pub message: &'a str,
}

impl<T: Serialize> Envelope<'_, T> {
    /// This envelope as a JSON answer with `status`.
    pub fn respond(&self, status: StatusCode) -> Response {
        match serde_json::to_vec(self) {
            Ok(bytes) => {
                (status, [(CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response()
            }
            Err(reason) => Failure::internal(reason).into_response(),
        }
    }
}

impl<T: Serialize> IntoResponse for Answer<T> {
    fn into_response(self) -> Response {
        let Self { payload, warning, revision, cookie } = self;
        let status = Status { code: 0, message: "OK" };
        let envelope = Envelope { status, payload, error: None, warning: warning.as_deref() };
        let mut response = envelope.respond(StatusCode::OK);
        if let Some(revision) = revision {
            response.headers_mut().insert(REVISION, revision.into());
        }
        if let Some(cookie) = cookie {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}
