//! The key space of a cluster as its gateways see it, and the spaces of all clusters.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use gantry_app::App;
use gantry_app::feed::{self, Feed, Revision};
use gantry_etcd_proto::etcdserverpb::ResponseHeader;
use gantry_model::Id;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::error;
use crate::lease::Reports;
use crate::presence::Presence;

/// Every server answers as this member: gateways must not notice which one they reached.
pub const MEMBER: u64 = 1;

/// There are no elections to count.
pub const TERM: u64 = 1;

/// Lines kept ready for watchers of everything: those that are not far behind share them.
const LINES_MAX: usize = 64;

/// What both doors, JSON and gRPC, are made of.
#[derive(Clone)]
pub struct Spaces(Arc<Inner>);

struct Inner {
    app: App,
    shutdown: CancellationToken,
    open: Mutex<HashMap<Id, Arc<Space>>>,
    /// Woken when a gateway comes.
    news: Arc<Notify>,
}

impl Spaces {
    #[must_use]
    pub fn new(app: App, shutdown: CancellationToken) -> Self {
        Self(Arc::new(Inner { app, shutdown, open: Mutex::default(), news: Arc::default() }))
    }

    #[must_use]
    pub fn app(&self) -> &App {
        &self.0.app
    }

    /// Ends when the server stops; every stream ends with it.
    #[must_use]
    pub fn shutdown(&self) -> &CancellationToken {
        &self.0.shutdown
    }

    /// Told when a gateway comes that has not been there.
    #[must_use]
    pub fn news(&self) -> &Notify {
        &self.0.news
    }

    /// The spaces of all clusters that gateways have asked for.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Space>> {
        lock(&self.0.open).values().cloned().collect()
    }

    /// The space of a cluster, the same for all who ask.
    pub async fn of(&self, cluster: Id) -> Result<Arc<Space>, Status> {
        if let Some(space) = lock(&self.0.open).get(&cluster) {
            return Ok(Arc::clone(space));
        }
        let feed = feed::open(self.app(), cluster).await.map_err(error::status)?;
        let space = Arc::new(Space {
            app: self.app().clone(),
            cluster,
            feed,
            shown: AtomicI64::new(0),
            reports: Mutex::new(Reports::new(Instant::now())),
            presence: Presence::new(Arc::clone(&self.0.news)),
            lines: Mutex::default(),
        });
        // Another request may have been faster: reports must stay in one place.
        Ok(Arc::clone(lock(&self.0.open).entry(cluster).or_insert(space)))
    }
}

/// One cluster: its configuration (revisions, read only) and what its gateways report.
pub struct Space {
    pub app: App,
    pub cluster: Id,
    pub feed: Feed,
    shown: AtomicI64,
    reports: Mutex<Reports>,
    /// Who is connected.
    pub presence: Presence,
    lines: Mutex<VecDeque<(i64, Bytes)>>,
}

impl Space {
    /// What stands at the start of every answer made from `revision`.
    #[must_use]
    pub fn header(&self, revision: i64) -> ResponseHeader {
        ResponseHeader {
            cluster_id: self.cluster.get().unsigned_abs(),
            member_id: MEMBER,
            revision,
            raft_term: TERM,
        }
    }

    /// The header of an answer that shows nothing but that we are here.
    #[must_use]
    pub fn newest_header(&self) -> ResponseHeader {
        self.header(self.newest())
    }

    /// The newest revision anyone was told of: a range reads the database and can be a moment ahead
    /// of the feed.
    #[must_use]
    pub fn newest(&self) -> i64 {
        self.feed.newest().max(self.shown.load(Ordering::Acquire))
    }

    /// Notes the revision a range has shown.
    pub fn has_shown(&self, revision: i64) {
        self.shown.fetch_max(revision, Ordering::AcqRel);
    }

    /// Waits until the log goes on after `seen`; answers how far it goes now.
    pub async fn newer_than(&self, seen: i64) -> Result<i64, Status> {
        let mut newest = self.feed.changed();
        let newer = newest.wait_for(|newest| *newest > seen).await;
        newer.map(|newest| *newest).map_err(|_| Status::unavailable("etcdserver: server stopped"))
    }

    /// What gateways have reported and is still good.
    pub fn reports(&self) -> MutexGuard<'_, Reports> {
        let mut reports = lock(&self.reports);
        reports.advance(Instant::now());
        reports
    }

    /// The line that tells `revision` to who watches everything; `write` makes it the first time.
    pub fn line(&self, revision: &Revision, write: impl FnOnce() -> Bytes) -> Bytes {
        let mut lines = lock(&self.lines);
        if let Some((_, line)) = lines.iter().rev().find(|(known, _)| *known == revision.revision) {
            return line.clone();
        }
        let line = write();
        if lines.len() >= LINES_MAX {
            lines.pop_front();
        }
        lines.push_back((revision.revision, line.clone()));
        line
    }
}

/// Nothing that holds one of these locks can leave the value half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
