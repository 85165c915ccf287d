//! One watch: which events it asks for, and the next revision it has not seen.
//!
//! A watch carries no data of its own. It reads the log of revisions from where it stands: from the
//! shared tail when it is near, from the database when it is behind. So nothing can be skipped,
//! repeated or reordered, however slow the client is.

use std::collections::VecDeque;
use std::sync::Arc;

use gantry_app::feed::{After, Change, Revision};
use gantry_etcd_proto::etcdserverpb::watch_create_request::FilterType;
use gantry_etcd_proto::etcdserverpb::{ResponseHeader, WatchCreateRequest};
use gantry_etcd_proto::mvccpb::event::EventType;
use gantry_etcd_proto::mvccpb::{Event, KeyValue};
use tonic::Status;

use crate::error;
use crate::key::KeyRange;
use crate::kv;
use crate::space::Space;

/// A watch and its place in the log.
pub struct Cursor {
    space: Arc<Space>,
    range: KeyRange,
    puts: bool,
    deletes: bool,
    /// The first revision not looked at yet.
    next: i64,
    /// Read from the log, not looked at yet.
    read: VecDeque<Arc<Revision>>,
}

/// What a watch has to tell.
pub enum Step {
    /// A revision with at least one event of this watch.
    Revision(Arc<Revision>),
    /// The next revision is forgotten; this is the oldest one that can still be watched.
    Compacted(i64),
}

impl Cursor {
    /// Opens the watch a request asks for, or says which of its options we do not have.
    ///
    /// `progress_notify` and `fragment` permit the server something; it makes no use of it.
    pub fn open(space: Arc<Space>, request: &WatchCreateRequest) -> Result<Self, Status> {
        if request.key.is_empty() {
            return Err(error::key_missing());
        }
        if request.prev_kv {
            return Err(error::unsupported("`prev_kv` of a watch"));
        }
        let without = |filter| !request.filters().any(|given| given == filter);
        let next = match request.start_revision {
            start if start > 0 => start,
            _ => space.newest().saturating_add(1),
        };
        Ok(Self {
            range: KeyRange::new(request.key.clone(), request.range_end.clone()),
            puts: without(FilterType::Noput),
            deletes: without(FilterType::Nodelete),
            next,
            read: VecDeque::new(),
            space,
        })
    }

    /// The revision up to which this watch has told everything; never ahead of the newest. An
    /// empty cluster has revision 1.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.next.saturating_sub(1).min(self.space.newest()).max(1)
    }

    /// The header of an answer without events. Its revision is where the watch stands, so that the
    /// revisions on a stream only ever rise.
    #[must_use]
    pub fn header(&self) -> ResponseHeader {
        self.space.header(self.position())
    }

    #[must_use]
    pub fn space(&self) -> &Arc<Space> {
        &self.space
    }

    /// Whether the watch tells every change under its own name, like all others that do.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.puts && self.deletes && self.range.is_everything()
    }

    /// Waits for the next revision with an event of this watch. Can be dropped at any time without
    /// losing one.
    pub async fn next(&mut self) -> Result<Step, Status> {
        loop {
            while let Some(revision) = self.read.pop_front() {
                self.next = revision.revision.saturating_add(1);
                if revision.changes.iter().any(|change| self.tells(change)) {
                    return Ok(Step::Revision(revision));
                }
            }
            let seen = self.next.saturating_sub(1);
            let newest = self.space.newer_than(seen).await?;
            match self.space.feed.after(seen).await.map_err(error::status)? {
                // Revision 1, the empty cluster, is not in the log.
                After::Revisions(revisions) if revisions.is_empty() => {
                    self.next = self.next.max(newest.saturating_add(1));
                }
                After::Revisions(revisions) => self.read = revisions.into(),
                After::Compacted(oldest) => return Ok(Step::Compacted(oldest)),
            }
        }
    }

    /// The events of a revision that this watch asks for, in their order.
    #[must_use]
    pub fn events(&self, revision: &Revision) -> Vec<Event> {
        let told = revision.changes.iter().filter(|change| self.tells(change));
        told.map(|change| self.event(change)).collect()
    }

    fn tells(&self, change: &Change) -> bool {
        let wanted = if change.value.is_some() { self.puts } else { self.deletes };
        wanted && self.range.contains(&change.key)
    }

    fn event(&self, change: &Change) -> Event {
        let key = kv::shown(&self.range, &change.key);
        let (kind, kv) = match &change.value {
            Some(value) => (
                EventType::Put,
                KeyValue {
                    key,
                    create_revision: change.create_revision,
                    mod_revision: change.mod_revision,
                    version: change.version,
                    value: kv::shared(Arc::clone(value)),
                    lease: 0,
                },
            ),
            None => (
                EventType::Delete,
                KeyValue { key, mod_revision: change.mod_revision, ..KeyValue::default() },
            ),
        };
        Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
    }
}
