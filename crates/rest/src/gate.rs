//! What happens to a request before its handler runs: who asks, may they, is it what the contract says.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::read::GzDecoder;
use gantry_app::access::{self, Rule, Scope, Subject};
use gantry_app::gateway::Identity;
use gantry_app::receipt::Wait;
use gantry_app::{Actor, App, Cx, session};
use gantry_model::{Error, ErrorCode, Id, Result};
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, COOKIE, HOST, ORIGIN, SET_COOKIE,
};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::Value;

use crate::contract::{DRY_RUN, NODES, OPTIONAL_PLUGINS, Operation, Raw, TIMEOUT, WAIT};
use crate::error::Failure;
use crate::frame::{ActorName, OperationName, RequestId};
use crate::session::session_cookie;

/// Largest request body: a certificate chain or a large application fits many times.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Cookie of browser sessions.
pub const SESSION_COOKIE: &str = "gantry_session";

/// Header in which clients of the Go SDK name the cluster of an application.
const CLUSTER_HEADER: &str = "X-API7-Cloud-Gateway-Cluster-ID";

/// The gate of one operation.
#[derive(Clone)]
pub struct Gate {
    pub app: App,
    pub operation: &'static Operation,
    pub rule: Rule,
}

pub async fn gate(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let operation = OperationName(&gate.operation.id);
    let mut response = pass(gate, request, next).await;
    response.extensions_mut().insert(operation);
    response
}

async fn pass(gate: Gate, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let cx = match gate.authenticate(&parts).await {
        Ok(cx) => cx,
        Err(failure) => return failure.into_response(),
    };
    let name = cx.as_ref().map_or("-".to_owned(), |cx| actor_name(&cx.actor));
    let session = cx.as_ref().and_then(|_| browser_session(&parts.headers));
    let mut response = match gate.admit(&mut parts, body, cx).await {
        Ok(()) => next.run(Request::from_parts(parts, Body::empty())).await,
        Err(failure) => failure.into_response(),
    };
    if let Some((token, headers)) = session {
        renew(&gate.app, &token, &headers, &mut response).await;
    }
    response.extensions_mut().insert(ActorName(name));
    response
}

/// The token of a browser that is known by its cookie, and the headers that came with it.
fn browser_session(headers: &HeaderMap) -> Option<(String, HeaderMap)> {
    let (token, by_cookie) = credential(headers)?;
    by_cookie.then(|| (token.to_owned(), headers.clone()))
}

/// Gives a browser the successor of an old session, unless the answer says something about it
/// already. Only a browser takes it: other clients keep the token they have.
async fn renew(app: &App, token: &str, headers: &HeaderMap, response: &mut Response) {
    if response.headers().contains_key(SET_COOKIE) {
        return;
    }
    match session::renew(app, token).await {
        Ok(Some(new)) => {
            if let Some(cookie) = session_cookie(app, headers, &new) {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
        }
        Ok(None) => {}
        Err(error) => {
            let reason = &error as &dyn std::error::Error;
            tracing::warn!(error = reason, "a session was not renewed");
        }
    }
}

impl Gate {
    /// Nothing of the body is read before the caller is known.
    async fn authenticate(&self, parts: &Parts) -> Result<Option<Cx>, Failure> {
        if self.rule.scope == Scope::Gateway && parts.extensions.get::<Identity>().is_none() {
            return Err(Error::unauthorized("show the certificate of a gateway").into());
        }
        if matches!(self.rule.scope, Scope::Public | Scope::Gateway) {
            return Ok(None);
        }
        let (token, by_cookie) = credential(&parts.headers).ok_or_else(|| {
            Error::unauthorized(
                "sign in, or send an access token as `Authorization: Bearer <token>`",
            )
        })?;
        let actor = session::authenticate(&self.app, token).await?;
        if by_cookie && !parts.method.is_safe() && !is_same_site(&parts.headers) {
            let message = "a request with a session cookie has to come from the same site, or \
                           carry the header `X-Requested-With`";
            return Err(Error::forbidden(message).into());
        }
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        let request_id = request_id.unwrap_or_default();
        Ok(Some(Cx::new(&self.app, actor, &self.operation.id, request_id)))
    }

    /// Checks who may, then the request against the contract; leaves what handlers need in its
    /// extensions. Nothing else about a request is judged before its ids are: who may not see them
    /// learns nothing from the rules a body breaks.
    async fn admit(&self, parts: &mut Parts, body: Body, cx: Option<Cx>) -> Result<(), Failure> {
        let path =
            RawPathParams::from_request_parts(parts, &()).await.map_err(Failure::internal)?;
        let path: Vec<_> = path.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
        let cx = match cx {
            Some(cx) => Some(self.authorize(cx, &path).await?),
            None => None,
        };
        let body = unpacked(&parts.headers, read(body).await?)?;
        if self.operation.body().is_some() && !body.is_empty() {
            self.check_content_type(&parts.headers)?;
        }
        let query = parts.uri.query().unwrap_or_default();
        let raw = Raw { path: &path, query, headers: &parts.headers, body: &body };
        let checked = self.operation.check(&raw)?;
        if let Some(mut cx) = cx {
            if let (Scope::Application, Some(owner)) = (self.rule.scope, cx.cluster()) {
                check_cluster(owner, &checked.params)?;
            }
            cx.dry_run = checked.params[DRY_RUN] == true;
            let optional = checked.params[OPTIONAL_PLUGINS].as_str().unwrap_or_default();
            cx.optional_plugins = optional.split(',').map(str::to_owned).collect();
            cx.wait = wait(&checked.params);
            parts.extensions.insert(cx);
        }
        parts.extensions.insert(checked);
        Ok(())
    }

    /// Refuses who may not call.
    async fn authorize(&self, cx: Cx, path: &[(String, String)]) -> Result<Cx> {
        let id = |name: &str| {
            let found = path.iter().find(|(key, _)| key == name);
            found.and_then(|(_, text)| text.parse::<Id>().ok())
        };
        let subject = Subject {
            organization: id("id"),
            cluster: id("cluster_id"),
            application: id("app_id"),
        };
        access::enforce(cx, &self.rule, subject).await
    }

    fn check_content_type(&self, headers: &HeaderMap) -> Result<(), Failure> {
        let given = content_type(headers);
        if given.eq_ignore_ascii_case("application/json")
            || (self.operation.takes_forms() && is_form(headers))
        {
            return Ok(());
        }
        let message = "the body has to be JSON, announced by `Content-Type: application/json`";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        Err(Failure::http(status, ErrorCode::InvalidArgument, message))
    }
}

/// What a write is to wait for; the contract has checked the words.
fn wait(params: &Value) -> Option<Wait> {
    params[WAIT].as_str()?;
    let nodes = params[NODES].as_str().unwrap_or_default();
    let percent = nodes.strip_suffix('%').and_then(|share| share.parse().ok()).unwrap_or(100);
    let timeout = Duration::from_secs(params[TIMEOUT].as_u64().unwrap_or_default());
    Some(Wait { percent, timeout })
}

/// Type and subtype of the body.
fn content_type(headers: &HeaderMap) -> &str {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim()
}

/// Whether the body is what an HTML form sends.
pub fn is_form(headers: &HeaderMap) -> bool {
    content_type(headers).eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Who is signed in, for what anybody may call; a foreign page cannot lend a cookie to it.
pub async fn visitor(app: &App, headers: &HeaderMap) -> Option<Actor> {
    let (token, by_cookie) = credential(headers)?;
    if by_cookie && !is_same_site(headers) {
        return None;
    }
    session::authenticate(app, token).await.ok()
}

/// The bearer token, or the session cookie (then `true`).
fn credential(headers: &HeaderMap) -> Option<(&str, bool)> {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if let Some((scheme, token)) = authorization.and_then(|value| value.split_once(' ')) {
        return scheme.eq_ignore_ascii_case("bearer").then_some((token.trim(), false));
    }
    cookie_value(headers, SESSION_COOKIE).map(|token| (token, true))
}

/// The value of the cookie `wanted`, if the request has it.
pub fn cookie_value<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.split_once('='));
    pairs.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
}

/// Browsers say where a request comes from; other clients prove by a header of their own that no
/// foreign page's form has sent it.
fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return matches!(site, "same-origin" | "none");
    }
    if let Some(origin) = text(ORIGIN.as_str()) {
        return origin.split_once("://").map(|(_, host)| host) == text(HOST.as_str());
    }
    headers.contains_key("x-requested-with")
}

fn actor_name(actor: &Actor) -> String {
    match actor {
        Actor::User { email, .. } => email.clone(),
        Actor::Gateway(identity) => format!("gateway of cluster {}", identity.cluster),
        Actor::System => "system".to_owned(),
    }
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(reason) if reason.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            let message = "the body ended before it was complete";
            Err(Error::new(ErrorCode::InvalidArgument, message).into())
        }
    }
}

/// The body as it was before its sender compressed it.
fn unpacked(headers: &HeaderMap, body: Bytes) -> Result<Bytes, Failure> {
    let Some(encoding) = headers.get(CONTENT_ENCODING) else { return Ok(body) };
    let encoding = encoding.to_str().unwrap_or_default();
    if encoding.eq_ignore_ascii_case("identity") {
        return Ok(body);
    }
    if !encoding.eq_ignore_ascii_case("gzip") {
        let message = "the body may be compressed with `gzip` only";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Failure::http(status, ErrorCode::InvalidArgument, message));
    }
    let mut whole = Vec::new();
    // One byte more than allowed is enough to know; a bomb is not unpacked further.
    let mut decoder = GzDecoder::new(body.as_ref()).take(BODY_BYTES_MAX as u64 + 1);
    if decoder.read_to_end(&mut whole).is_err() {
        let message = "the body is not whole gzip data";
        return Err(Error::new(ErrorCode::InvalidArgument, message).into());
    }
    if whole.len() > BODY_BYTES_MAX {
        return Err(too_large());
    }
    Ok(whole.into())
}

fn too_large() -> Failure {
    let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
    Failure::http(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::InvalidArgument, message)
}

/// A client that names a cluster means an application of that cluster, which is `owner`.
fn check_cluster(owner: Id, params: &Value) -> Result<()> {
    let named = params[CLUSTER_HEADER].as_str().and_then(|text| text.parse::<Id>().ok());
    let Some(named) = named else { return Ok(()) };
    if owner == named {
        return Ok(());
    }
    Err(Error::invalid_field(
        CLUSTER_HEADER,
        "must name the application's own cluster",
        owner.to_string(),
    ))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_bearer_token_wins_over_the_cookie() {
        let cookie = ("cookie", "a=b; gantry_session=s");
        assert_eq!(credential(&headers(&[cookie])), Some(("s", true)));
        let both = headers(&[cookie, ("authorization", "bearer t")]);
        assert_eq!(credential(&both), Some(("t", false)));
        assert_eq!(credential(&headers(&[("authorization", "Basic eA==")])), None);
        assert_eq!(credential(&headers(&[])), None);
    }

    #[test]
    fn foreign_pages_are_told_apart() {
        let host = ("host", "gantry.example:7080");
        for (headers, expected) in [
            (headers(&[host]), false),
            (headers(&[host, ("x-requested-with", "x")]), true),
            (headers(&[host, ("origin", "http://gantry.example:7080")]), true),
            (headers(&[host, ("origin", "http://evil.example"), ("x-requested-with", "x")]), false),
            (headers(&[host, ("sec-fetch-site", "same-origin")]), true),
            (headers(&[host, ("sec-fetch-site", "cross-site")]), false),
        ] {
            assert_eq!(is_same_site(&headers), expected, "{headers:?}");
        }
    }
}
