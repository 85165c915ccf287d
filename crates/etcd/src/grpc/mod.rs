//! The gRPC form: the door of Gantry's own gateway, of `etcdctl` and other clients of etcd v3.

mod watch;

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use futures::{Stream, StreamExt};
use gantry_etcd_proto::etcdserverpb as pb;
use pb::auth_server::{Auth, AuthServer};
use pb::cluster_server::{Cluster, ClusterServer};
use pb::kv_server::{Kv, KvServer};
use pb::lease_server::{Lease, LeaseServer};
use pb::maintenance_server::{Maintenance, MaintenanceServer};
use pb::watch_server::WatchServer;
use tonic::{Request, Response, Status, Streaming};

use crate::identity::Session;
use crate::json::VERSION;
use crate::space::{MEMBER, Space, Spaces, TERM};
use crate::{error, kv};

type Answer<T> = Result<Response<T>, Status>;
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The services, under the paths gRPC gives them.
pub fn router(spaces: Spaces) -> Router {
    Router::new()
        .route_service("/etcdserverpb.KV/{call}", KvServer::new(Door))
        .route_service("/etcdserverpb.Watch/{call}", WatchServer::new(Door))
        .route_service("/etcdserverpb.Lease/{call}", LeaseServer::new(Door))
        .route_service("/etcdserverpb.Maintenance/{call}", MaintenanceServer::new(Door))
        .route_service("/etcdserverpb.Cluster/{call}", ClusterServer::new(Door))
        .route_service("/etcdserverpb.Auth/{call}", AuthServer::new(Login(spaces)))
}

/// Everything that needs a session, which comes with the request.
#[derive(Clone, Copy)]
struct Door;

/// Opens sessions.
struct Login(Spaces);

fn session<T>(request: &Request<T>) -> Result<Session, Status> {
    request.extensions().get::<Session>().cloned().ok_or_else(error::nobody)
}

async fn space<T>(request: &Request<T>) -> Result<Arc<Space>, Status> {
    session(request)?.space().await
}

#[tonic::async_trait]
impl Kv for Door {
    async fn range(&self, request: Request<pb::RangeRequest>) -> Answer<pb::RangeResponse> {
        let space = space(&request).await?;
        Ok(Response::new(kv::range(&space, request.into_inner()).await?))
    }

    async fn put(&self, request: Request<pb::PutRequest>) -> Answer<pb::PutResponse> {
        let session = session(&request)?;
        let space = session.space().await?;
        Ok(Response::new(kv::put(&space, request.into_inner(), session.address())?))
    }

    async fn delete_range(
        &self,
        _: Request<pb::DeleteRangeRequest>,
    ) -> Answer<pb::DeleteRangeResponse> {
        Err(error::read_only("deleterange"))
    }

    async fn txn(&self, _: Request<pb::TxnRequest>) -> Answer<pb::TxnResponse> {
        Err(error::read_only("txn"))
    }

    async fn compact(&self, _: Request<pb::CompactionRequest>) -> Answer<pb::CompactionResponse> {
        Err(error::read_only("compaction"))
    }
}

#[tonic::async_trait]
impl pb::watch_server::Watch for Door {
    type WatchStream = Answers<pb::WatchResponse>;

    async fn watch(
        &self,
        request: Request<Streaming<pb::WatchRequest>>,
    ) -> Answer<Self::WatchStream> {
        let session = session(&request)?;
        let answers = watch::answers(&session, request.into_inner()).await?;
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tonic::async_trait]
impl Lease for Door {
    async fn lease_grant(
        &self,
        request: Request<pb::LeaseGrantRequest>,
    ) -> Answer<pb::LeaseGrantResponse> {
        let space = space(&request).await?;
        let asked = request.into_inner();
        let (id, ttl) = space.reports().grant(asked.id, asked.ttl)?;
        let header = Some(space.newest_header());
        Ok(Response::new(pb::LeaseGrantResponse { header, id, ttl, error: String::new() }))
    }

    async fn lease_revoke(
        &self,
        request: Request<pb::LeaseRevokeRequest>,
    ) -> Answer<pb::LeaseRevokeResponse> {
        let space = space(&request).await?;
        space.reports().revoke(request.into_inner().id)?;
        Ok(Response::new(pb::LeaseRevokeResponse { header: Some(space.newest_header()) }))
    }

    type LeaseKeepAliveStream = Answers<pb::LeaseKeepAliveResponse>;

    async fn lease_keep_alive(
        &self,
        request: Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Answer<Self::LeaseKeepAliveStream> {
        let space = space(&request).await?;
        let mut guard = session(&request)?.guard();
        let renewals = request.into_inner();
        let ended = Box::pin(async move {
            loop {
                guard.due().await;
                if guard.check().await.is_err() {
                    return;
                }
            }
        });
        let answers = renewals.map(move |renewal| {
            let id = renewal?.id;
            let ttl = space.reports().keep_alive(id).unwrap_or(0);
            Ok(pb::LeaseKeepAliveResponse { header: Some(space.newest_header()), id, ttl })
        });
        Ok(Response::new(Box::pin(answers.take_until(ended))))
    }

    async fn lease_time_to_live(
        &self,
        request: Request<pb::LeaseTimeToLiveRequest>,
    ) -> Answer<pb::LeaseTimeToLiveResponse> {
        let space = space(&request).await?;
        let asked = request.into_inner();
        let left = space.reports().remaining(asked.id);
        let (ttl, granted_ttl, keys) =
            left.map_or((-1, 0, Vec::new()), |left| (left.left_s, left.granted_s, left.keys));
        Ok(Response::new(pb::LeaseTimeToLiveResponse {
            header: Some(space.newest_header()),
            id: asked.id,
            ttl,
            granted_ttl,
            keys: if asked.keys { keys } else { Vec::new() },
        }))
    }
}

#[tonic::async_trait]
impl Maintenance for Door {
    async fn status(&self, request: Request<pb::StatusRequest>) -> Answer<pb::StatusResponse> {
        let header = space(&request).await?.newest_header();
        let applied = header.revision.unsigned_abs();
        Ok(Response::new(pb::StatusResponse {
            header: Some(header),
            version: VERSION.to_owned(),
            leader: MEMBER,
            raft_index: applied,
            raft_term: TERM,
            raft_applied_index: applied,
            ..pb::StatusResponse::default()
        }))
    }
}

#[tonic::async_trait]
impl Cluster for Door {
    async fn member_list(
        &self,
        request: Request<pb::MemberListRequest>,
    ) -> Answer<pb::MemberListResponse> {
        let header = Some(space(&request).await?.newest_header());
        let member = pb::Member { id: MEMBER, name: "gantry".to_owned(), ..pb::Member::default() };
        Ok(Response::new(pb::MemberListResponse { header, members: vec![member] }))
    }
}

#[tonic::async_trait]
impl Auth for Login {
    async fn authenticate(
        &self,
        request: Request<pb::AuthenticateRequest>,
    ) -> Answer<pb::AuthenticateResponse> {
        let asked = request.into_inner();
        let token = gantry_app::gateway::login(self.0.app(), &asked.name, &asked.password).await;
        let token = token.map_err(error::status)?;
        Ok(Response::new(pb::AuthenticateResponse { header: None, token }))
    }
}
