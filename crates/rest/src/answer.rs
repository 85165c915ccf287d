//! Answers: a payload in the envelope of the contract, always with status 200.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use gantry_app::Written;
use gantry_app::preview::Preview;
use gantry_model::receipt::Delivery;
use http::header::{CONTENT_TYPE, SET_COOKIE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::error::Failure;

/// Revision of the cluster's configuration after a write (design §2.5).
pub const REVISION: HeaderName = HeaderName::from_static("gantry-revision");

/// How a write that waited for gateways ended.
pub const DELIVERY: HeaderName = HeaderName::from_static("gantry-delivery");

/// What a handler returns.
pub type Reply<T> = Result<Answer<T>, Failure>;

/// A success: `T` is the payload, `()` stands for none.
pub struct Answer<T> {
    payload: Option<T>,
    warning: Option<String>,
    revision: Option<i64>,
    preview: Option<Preview>,
    delivery: Option<Delivery>,
    cookie: Option<HeaderValue>,
}

impl<T> Answer<T> {
    #[must_use]
    pub fn new(payload: T) -> Self {
        Self { payload: Some(payload), ..Self::nothing() }
    }

    /// The object a write left behind, with the revision that carries it to the gateways.
    #[must_use]
    pub fn written(written: Written<T>) -> Self {
        let Written { value, revision, warning, preview, delivery } = written;
        let revision = preview.is_none().then_some(revision);
        Self { payload: Some(value), warning, revision, preview, delivery, cookie: None }
    }

    fn nothing() -> Self {
        Self {
            payload: None,
            warning: None,
            revision: None,
            preview: None,
            delivery: None,
            cookie: None,
        }
    }

    /// Sets a cookie along with the answer.
    #[must_use]
    pub fn with_cookie(self, cookie: Option<HeaderValue>) -> Self {
        Self { cookie, ..self }
    }

    /// Something the caller should know although it worked.
    #[must_use]
    pub fn with_warning(self, warning: Option<String>) -> Self {
        Self { warning, ..self }
    }

    /// The same answer around another payload.
    #[must_use]
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        let Self { payload, warning, revision, preview, delivery, cookie } = self;
        Answer { payload: payload.map(change), warning, revision, preview, delivery, cookie }
    }
}

impl Answer<()> {
    #[must_use]
    pub fn empty() -> Self {
        Self::nothing()
    }

    /// A write that leaves nothing to show.
    #[must_use]
    pub fn done<T>(written: Written<T>) -> Self {
        let whole = Answer::written(written);
        let Answer { payload: _, warning, revision, preview, delivery, cookie } = whole;
        Self { payload: None, warning, revision, preview, delivery, cookie }
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
    /// Of a dry run: what gateways would see (Gantry's addition).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<&'a Preview>,
    /// Of a write that waited: what gateways said (Gantry's addition).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<&'a Delivery>,
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
        let Self { payload, warning, revision, preview, delivery, cookie } = self;
        let envelope = Envelope {
            status: Status { code: 0, message: "OK" },
            payload,
            error: None,
            warning: warning.as_deref(),
            preview: preview.as_ref(),
            delivery: delivery.as_ref(),
        };
        let mut response = envelope.respond(StatusCode::OK);
        if let Some(revision) = revision {
            response.headers_mut().insert(REVISION, revision.into());
        }
        if let Some(delivery) = delivery {
            let outcome = HeaderValue::from_static(delivery.outcome.name());
            response.headers_mut().insert(DELIVERY, outcome);
        }
        if let Some(cookie) = cookie {
            response.headers_mut().insert(SET_COOKIE, cookie);
        }
        response
    }
}
