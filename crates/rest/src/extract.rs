//! What handlers take from a request that has passed the gate.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts};
use gantry_app::{Actor, App, Cx, session};
use gantry_model::page::PAGE_SIZE_MAX;
use gantry_model::{Direction, Error, ErrorCode, Id, ListQuery};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::contract::Checked;
use crate::error::Failure;
use crate::frame::RequestId;
use crate::gate;

/// Who asks, for which operation.
pub struct Caller(pub Cx);

/// Who asks for what anybody may: signed in, or not.
pub struct Visitor {
    pub actor: Option<Actor>,
    pub request_id: String,
}

/// Where a request without sign-in comes from.
pub struct Stranger(pub session::Visitor);

/// Path, query and header parameters.
pub struct Params<T>(pub T);

/// The body.
pub struct Body<T>(pub T);

/// Which part of a list is wanted.
pub struct List(pub ListQuery);

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let cx = parts.extensions.remove::<Cx>();
        cx.map(Self)
            .ok_or_else(|| Failure::internal("an operation without sign-in asks for its caller"))
    }
}

impl FromRequestParts<App> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Failure> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        let actor = gate::visitor(app, &parts.headers).await;
        Ok(Self { actor, request_id: request_id.unwrap_or_default() })
    }
}

impl<S: Sync> FromRequestParts<S> for Stranger {
    type Rejection = Failure;

    /// A server that does not know addresses takes all visitors for one.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = peer.map(|ConnectInfo(peer)| peer.ip().to_string()).unwrap_or_default();
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        Ok(Self(session::Visitor { address, request_id: request_id.unwrap_or_default() }))
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let checked = checked(parts)?;
        // What passed the contract and still does not fit is a number beyond those ids are made of.
        T::deserialize(&checked.params).map(Self).map_err(|_| Error::not_found("object").into())
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let body = checked(parts)?.body.take().unwrap_or_default();
        serde_json::from_value(body).map(Self).map_err(|reason| {
            Error::new(ErrorCode::InvalidArgument, format!("the body does not fit: {reason}"))
                .into()
        })
    }
}

impl<S: Sync> FromRequestParts<S> for List {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Params(params) = Params::<ListParams>::from_request_parts(parts, state).await?;
        Ok(Self(params.into()))
    }
}

fn checked(parts: &mut Parts) -> Result<&mut Checked, Failure> {
    let checked = parts.extensions.get_mut::<Checked>();
    checked.ok_or_else(|| Failure::internal("a handler runs without the gate before it"))
}

/// The parameters of lists. The contract gives the defaults; a list without pages is one page.
#[derive(Deserialize)]
struct ListParams {
    #[serde(default = "first_page")]
    page: u64,
    #[serde(default = "largest_page")]
    page_size: u64,
    order_by: Option<String>,
    direction: Option<String>,
    #[serde(default)]
    search: String,
    #[serde(default)]
    labels: Vec<String>,
    active: Option<String>,
}

fn first_page() -> u64 {
    1
}

fn largest_page() -> u64 {
    PAGE_SIZE_MAX.into()
}

impl From<ListParams> for ListQuery {
    fn from(params: ListParams) -> Self {
        let ListParams { page, page_size, order_by, direction, search, labels, active } = params;
        let ascending = direction.as_deref() == Some("ASC");
        Self {
            page: u32::try_from(page).unwrap_or(u32::MAX),
            page_size: u32::try_from(page_size).unwrap_or(u32::MAX),
            order_by,
            direction: if ascending { Direction::Asc } else { Direction::Desc },
            search,
            labels,
            active: active.and_then(|text| text.parse().ok()),
        }
    }
}

/// Parameters of operations on an organization.
#[derive(Deserialize)]
pub struct OfOrganization {
    pub id: Id,
}

/// Parameters of operations on a cluster.
#[derive(Deserialize)]
pub struct OfCluster {
    pub cluster_id: Id,
}

/// Parameters of operations on an application, found by its own id.
#[derive(Deserialize)]
pub struct OfApplication {
    pub app_id: Id,
}
