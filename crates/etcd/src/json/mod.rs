//! The JSON gateway of etcd, over HTTP/1.1: the door APISIX comes through.

mod answer;
mod request;
mod watch;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tonic::{Code, Status};

use crate::identity::Session;
use crate::space::{Space, Spaces};
use crate::{error, kv};
use answer::Header;

/// What we say we are. Gateways refuse clusters before 3.4.
pub const VERSION: &str = "3.5.0";

/// The JSON gateway's routes.
pub fn router(spaces: Spaces) -> Router {
    Router::new()
        .route("/version", get(version))
        .route("/v3/auth/authenticate", post(authenticate))
        .route("/v3/kv/range", post(range))
        .route("/v3/kv/put", post(put))
        .route("/v3/kv/txn", post(|| async { Refusal(error::read_only("txn")) }))
        .route("/v3/kv/deleterange", post(|| async { Refusal(error::read_only("deleterange")) }))
        .route("/v3/kv/compaction", post(|| async { Refusal(error::read_only("compaction")) }))
        .route("/v3/watch", post(watch))
        .route("/v3/lease/grant", post(lease_grant))
        .route("/v3/lease/keepalive", post(lease_keep_alive))
        .route("/v3/lease/revoke", post(lease_revoke))
        .route("/v3/kv/lease/revoke", post(lease_revoke))
        .route("/v3/lease/timetolive", post(lease_time_to_live))
        .route("/v3/kv/lease/timetolive", post(lease_time_to_live))
        .with_state(spaces)
}

/// An error in the form of etcd's JSON gateway, with the HTTP status that belongs to its code.
pub struct Refusal(pub Status);

type Answer<T = Response> = Result<T, Refusal>;

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self(status)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            error: &'a str,
            code: i32,
            message: &'a str,
        }
        let message = self.0.message();
        let body = Json(Body { error: message, code: self.0.code().into(), message });
        (http_status(self.0.code()), body).into_response()
    }
}

/// The HTTP status of a gRPC code, as grpc-gateway maps them.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => {
            StatusCode::BAD_REQUEST
        }
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Cancelled | Code::Unknown | Code::Internal | Code::DataLoss => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}

async fn version() -> impl IntoResponse {
    Json(answer::Version { etcdserver: VERSION, etcdcluster: VERSION })
}

async fn authenticate(State(spaces): State<Spaces>, body: Bytes) -> Answer<impl IntoResponse> {
    let request: request::Authenticate = request::read(&body)?;
    let token = gantry_app::gateway::login(spaces.app(), &request.name, &request.password).await;
    Ok(Json(answer::Authenticated { token: token.map_err(error::status)? }))
}

async fn range(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request = request::read::<request::Range>(&body)?.into_message()?;
    let answer = kv::range(&*session.space().await?, request).await?;
    Ok(Json(answer::Range::from(&answer)).into_response())
}

async fn put(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request = request::read::<request::Put>(&body)?.into_message();
    let answer = kv::put(&*session.space().await?, request, session.address())?;
    Ok(Json(answer::Put::from(&answer)).into_response())
}

async fn watch(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let Some(create) = request::read_first::<request::Watch>(&body)?.create_request else {
        return Err(Status::invalid_argument("`create_request` is missing").into());
    };
    let lines = watch::lines(&session, &create.into_message()?).await?;
    Ok(streamed(Body::from_stream(lines)))
}

async fn lease_grant(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request: request::Lease = request::read(&body)?;
    let space = session.space().await?;
    let (id, ttl_s) = space.reports().grant(request.id, request.ttl_s)?;
    Ok(Json(answer::Lease { id, ttl_s, ..lease(&space) }).into_response())
}

async fn lease_keep_alive(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request: request::Lease = request::read_first(&body)?;
    let space = session.space().await?;
    let ttl_s = space.reports().keep_alive(request.id).unwrap_or(0);
    let line = answer::line(answer::Lease { id: request.id, ttl_s, ..lease(&space) });
    // A stream of one message: its length is left open, so it goes out in chunks.
    Ok(streamed(Body::from_stream(futures::stream::iter([Ok::<_, Status>(line)]))))
}

async fn lease_revoke(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request: request::Lease = request::read(&body)?;
    let space = session.space().await?;
    space.reports().revoke(request.id)?;
    Ok(Json(lease(&space)).into_response())
}

async fn lease_time_to_live(Extension(session): Extension<Session>, body: Bytes) -> Answer {
    let request: request::Lease = request::read(&body)?;
    let space = session.space().await?;
    let remaining = space.reports().remaining(request.id);
    let keys = remaining.as_ref().filter(|_| request.keys == Some(true)).map(|left| &left.keys);
    let keys = keys.into_iter().flatten().map(|key| answer::Base64(key)).collect();
    let (ttl_s, granted_s) = remaining.as_ref().map_or((-1, 0), |r| (r.left_s, r.granted_s));
    Ok(Json(answer::Lease { id: request.id, ttl_s, granted_s, keys, ..lease(&space) })
        .into_response())
}

fn lease(space: &Arc<Space>) -> answer::Lease<'static> {
    let header = Some(Header::from(&space.newest_header()));
    answer::Lease { header, ..answer::Lease::default() }
}

fn streamed(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
