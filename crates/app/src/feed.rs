//! The log of revisions as the etcd doors read it: ranges, and what came after a revision.
//!
//! One reader per cluster fills a bounded tail in memory from the database after each commit;
//! watchers that are near share it, those that are behind read the database. A wake-up carries no
//! data: a reader that slept reads the same log and ends in the same state.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use gantry_model::{Error, ErrorCode, Id, Result, Timestamp};
use gantry_store::revision::{self, ChangeRow};
use tokio::sync::{Notify, watch};

use crate::App;
use crate::change::key_place;

/// Revisions kept in memory per cluster.
const TAIL_MAX: usize = 4096;
/// Revisions read from the database at once.
const BATCH: i64 = 1000;
/// How often the log is looked at without being told: another server may have written to it.
const POLL: Duration = Duration::from_millis(500);
/// A log that has not been read for so long is not well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Revisions that stay when the log is compacted.
pub const KEEP_REVISIONS: i64 = 100_000;

/// One key as a range shows it.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub value: Arc<str>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

/// Keys in the order of their bytes, and the revision they are the state of.
#[derive(Clone, Debug)]
pub struct Range {
    pub revision: i64,
    pub entries: Vec<Entry>,
}

/// All changes of one revision, dependencies first.
#[derive(Clone, Debug)]
pub struct Revision {
    pub revision: i64,
    pub changes: Vec<Change>,
}

/// A key that was written, or deleted if it has no value.
#[derive(Clone, Debug)]
pub struct Change {
    pub key: String,
    pub value: Option<Arc<str>>,
    pub create_revision: i64,
    pub mod_revision: i64,
    pub version: i64,
}

/// What follows a revision.
#[derive(Clone, Debug)]
pub enum After {
    /// In order and without a gap; empty when there is nothing newer.
    Revisions(Vec<Arc<Revision>>),
    /// The next revision is forgotten; this one is the oldest that can still be read.
    Compacted(i64),
}

/// The keys from `from` up to but not including `to`, or `from` alone, now or as of `revision`.
pub async fn range(
    app: &App,
    cluster: Id,
    from: &str,
    to: Option<&str>,
    revision: Option<i64>,
) -> Result<Range> {
    let mut tx = app.db.snapshot().await?;
    let (newest, compacted) = bounds(revision::bounds(&mut tx, cluster).await?)?;
    // The smallest key after a key is the key with a zero byte, which PostgreSQL cannot hold.
    let single = to.is_none();
    let end = to.map_or_else(|| format!("{from}\u{1}"), str::to_owned);
    let at = revision.unwrap_or(newest);
    if at > newest {
        return Err(invalid("etcdserver: mvcc: required revision is a future revision"));
    }
    if at < compacted {
        return Err(invalid("etcdserver: mvcc: required revision has been compacted"));
    }
    let mut entries = if at == newest {
        let rows = revision::range(&mut tx, cluster, from, &end).await?;
        let entry = |row: revision::KeyRow| {
            let value = app.sealer.open_text(&key_place(cluster, &row.key), &row.value_sealed)?;
            Ok(Entry {
                key: row.key,
                value: value.into(),
                create_revision: row.create_revision,
                mod_revision: row.mod_revision,
                version: row.version,
            })
        };
        rows.into_iter().map(entry).collect::<Result<Vec<_>>>()?
    } else {
        let rows = revision::state_at(&mut tx, cluster, from, &end, at).await?;
        let changes = rows.into_iter().map(|row| change(app, cluster, row));
        let mut entries: Vec<Entry> =
            changes.filter_map(|change| change.map(entry).transpose()).collect::<Result<_>>()?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    };
    entries.retain(|entry| !single || entry.key == from);
    Ok(Range { revision: newest, entries })
}

fn entry(change: Change) -> Option<Entry> {
    let Change { key, value, create_revision, mod_revision, version } = change;
    value.map(|value| Entry { key, value, create_revision, mod_revision, version })
}

fn invalid(text: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, text)
}

fn bounds(found: Option<(i64, i64)>) -> Result<(i64, i64)> {
    found.ok_or_else(|| Error::not_found("cluster"))
}

fn change(app: &App, cluster: Id, row: ChangeRow) -> Result<Change> {
    let ChangeRow { revision, key, value_sealed, create_revision, version } = row;
    let place = key_place(cluster, &key);
    let value = value_sealed.map(|sealed| app.sealer.open_text(&place, &sealed)).transpose()?;
    let value = value.map(Arc::from);
    Ok(Change { key, value, create_revision, mod_revision: revision, version })
}

/// Changes in order, grouped by revision.
fn revisions(app: &App, cluster: Id, rows: Vec<ChangeRow>) -> Result<Vec<Arc<Revision>>> {
    let mut all: Vec<Revision> = Vec::new();
    for row in rows {
        let number = row.revision;
        let change = change(app, cluster, row)?;
        match all.last_mut().filter(|last| last.revision == number) {
            Some(last) => last.changes.push(change),
            None => all.push(Revision { revision: number, changes: vec![change] }),
        }
    }
    Ok(all.into_iter().map(Arc::new).collect())
}

/// The feeds that are open.
#[derive(Default)]
pub(crate) struct Feeds {
    channels: Mutex<HashMap<Id, Weak<Channel>>>,
    /// Revisions committed by this server.
    committed: AtomicU64,
}

impl Feeds {
    /// Revisions committed by this server.
    pub(crate) fn committed(&self) -> u64 {
        self.committed.load(Ordering::Relaxed)
    }

    fn open(&self) -> Vec<Arc<Channel>> {
        lock(&self.channels).values().filter_map(Weak::upgrade).collect()
    }

    /// How many follow the log of a cluster.
    pub(crate) fn watchers(&self) -> usize {
        self.open().iter().map(|channel| channel.newest.receiver_count()).sum()
    }

    /// Clusters whose log is followed and could not be read for longer than [`PATIENCE`].
    pub(crate) fn stuck(&self) -> Vec<Id> {
        let is_stuck = |channel: &Arc<Channel>| lock(&channel.read_at).elapsed() > PATIENCE;
        self.open().into_iter().filter(is_stuck).map(|channel| channel.cluster).collect()
    }

    /// Whether who follows a cluster's log here has been offered what comes after `revision` since
    /// before `time`. If nobody does, others may have offered it.
    pub(crate) fn has_passed(&self, cluster: Id, revision: i64, time: Timestamp) -> bool {
        let channel = lock(&self.channels).get(&cluster).and_then(Weak::upgrade);
        channel.is_none_or(|channel| channel.passed_at(revision).is_some_and(|at| at <= time))
    }

    /// Tells who follows the cluster that revision `newest` is there.
    pub(crate) fn wake(&self, cluster: Id, _newest: i64) {
        self.committed.fetch_add(1, Ordering::Relaxed);
        if let Some(channel) = lock(&self.channels).get(&cluster).and_then(Weak::upgrade) {
            channel.wake.notify_one();
        }
    }
}

/// A cluster's log; clones share one reader.
#[derive(Clone)]
pub struct Feed {
    app: App,
    channel: Arc<Channel>,
}

struct Channel {
    cluster: Id,
    wake: Notify,
    /// With the time at which each was read.
    tail: Mutex<VecDeque<(Timestamp, Arc<Revision>)>>,
    newest: watch::Sender<i64>,
    /// When it was begun to follow the log.
    opened_at: Timestamp,
    /// When the log was read to its end the last time.
    read_at: Mutex<Instant>,
}

/// Follows a cluster's log from now on.
pub async fn open(app: &App, cluster: Id) -> Result<Feed> {
    let known = lock(&app.feeds.channels).get(&cluster).and_then(Weak::upgrade);
    if let Some(channel) = known {
        return Ok(Feed { app: app.clone(), channel });
    }
    let (newest, _) = bounds(revision::bounds(&mut app.db.read().await?, cluster).await?)?;
    let fresh = Arc::new(Channel {
        cluster,
        wake: Notify::new(),
        tail: Mutex::default(),
        newest: watch::Sender::new(newest),
        opened_at: app.now(),
        read_at: Mutex::new(Instant::now()),
    });
    let mut feeds = lock(&app.feeds.channels);
    if let Some(channel) = feeds.get(&cluster).and_then(Weak::upgrade) {
        return Ok(Feed { app: app.clone(), channel });
    }
    feeds.insert(cluster, Arc::downgrade(&fresh));
    drop(feeds);
    // What was committed since `newest` was read woke nobody.
    fresh.wake.notify_one();
    tokio::spawn(read(app.clone(), Arc::downgrade(&fresh)));
    Ok(Feed { app: app.clone(), channel: fresh })
}

/// Reads the log into the tail for as long as somebody follows it.
async fn read(app: App, channel: Weak<Channel>) {
    while let Some(open) = channel.upgrade() {
        if let Err(error) = open.advance(&app).await {
            // The cluster went with its organization; ids do not come back.
            if error.code == ErrorCode::NotFound {
                return;
            }
            tracing::warn!(cluster = %open.cluster, error = &error as &dyn std::error::Error,
                "the log of revisions could not be read; trying again");
        }
        // A timeout is the poll; both outcomes lead to the next look.
        let _ = tokio::time::timeout(POLL, open.wake.notified()).await;
    }
}

impl Channel {
    async fn advance(&self, app: &App) -> Result<()> {
        loop {
            let seen = *self.newest.borrow();
            let mut tx = app.db.read().await?;
            let (newest, _) = bounds(revision::bounds(&mut tx, self.cluster).await?)?;
            if newest <= seen {
                *lock(&self.read_at) = Instant::now();
                return Ok(());
            }
            let upto = newest.min(seen + BATCH);
            let rows = revision::changes(&mut tx, self.cluster, seen, upto).await?;
            let fresh = revisions(app, self.cluster, rows)?;
            let mut tail = lock(&self.tail);
            let now = app.now();
            tail.extend(fresh.into_iter().map(|one| (now, one)));
            let surplus = tail.len().saturating_sub(TAIL_MAX);
            tail.drain(..surplus);
            drop(tail);
            self.newest.send_replace(upto);
        }
    }

    /// When the log was read beyond `revision`.
    fn passed_at(&self, revision: i64) -> Option<Timestamp> {
        if *self.newest.borrow() <= revision {
            return None;
        }
        let tail = lock(&self.tail);
        let reaches = tail.front().is_some_and(|(_, first)| first.revision <= revision + 1);
        let next = tail.partition_point(|(_, one)| one.revision <= revision);
        // What was there before is not in the tail.
        let read = tail.get(next).filter(|_| reaches);
        Some(read.map_or(self.opened_at, |(at, _)| *at))
    }

    /// Revisions after `revision` if the tail reaches back that far.
    fn near(&self, revision: i64) -> Option<Vec<Arc<Revision>>> {
        let tail = lock(&self.tail);
        let first = tail.front()?.1.revision;
        if first > revision + 1 {
            return None;
        }
        let skip = usize::try_from(revision + 1 - first).ok()?;
        let batch = usize::try_from(BATCH).unwrap_or(usize::MAX);
        Some(tail.iter().skip(skip).take(batch).map(|(_, one)| Arc::clone(one)).collect())
    }
}

impl Feed {
    /// Newest revision that [`Feed::after`] can lead to.
    #[must_use]
    pub fn newest(&self) -> i64 {
        *self.channel.newest.borrow()
    }

    /// Told whenever [`Feed::newest`] has changed.
    #[must_use]
    pub fn changed(&self) -> watch::Receiver<i64> {
        self.channel.newest.subscribe()
    }

    /// The next revisions after `revision`, at most a thousand at once.
    ///
    /// What the tail in memory holds is answered even when the log has forgotten it meanwhile: the
    /// tail holds whole revisions without a gap, so a watcher that is near never has to start again
    /// because of a compaction. Only who needs the log is told [`After::Compacted`]. Revision
    /// `compacted` itself stays whole in the log, deletions included.
    pub async fn after(&self, revision: i64) -> Result<After> {
        let newest = self.newest();
        if revision >= newest {
            return Ok(After::Revisions(Vec::new()));
        }
        if let Some(revisions) = self.channel.near(revision) {
            return Ok(After::Revisions(revisions));
        }
        let cluster = self.channel.cluster;
        let mut tx = self.app.db.snapshot().await?;
        let (_, compacted) = bounds(revision::bounds(&mut tx, cluster).await?)?;
        if revision + 1 < compacted {
            return Ok(After::Compacted(compacted));
        }
        let upto = newest.min(revision + BATCH);
        let rows = revision::changes(&mut tx, cluster, revision, upto).await?;
        Ok(After::Revisions(revisions(&self.app, cluster, rows)?))
    }
}

/// Forgets all but the newest `keep` revisions of a cluster; the state at the oldest one kept and
/// every state since can still be read. Returns the number of changes removed.
pub async fn compact(app: &App, cluster: Id, keep: i64) -> Result<u64> {
    app.db
        .write(move |tx| {
            Box::pin(async move {
                let (newest, compacted) = bounds(revision::bounds(tx, cluster).await?)?;
                let upto = newest.saturating_sub(keep);
                if upto <= compacted { Ok(0) } else { revision::compact(tx, cluster, upto).await }
            })
        })
        .await
}

/// Compacts every cluster down to [`KEEP_REVISIONS`].
pub async fn compact_all(app: &App) -> Result<()> {
    let clusters = gantry_store::cluster::ids(&mut app.db.read().await?).await?;
    for cluster in clusters {
        compact(app, cluster, KEEP_REVISIONS).await?;
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
