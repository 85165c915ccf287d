//! All clusters, and what is forgotten when.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_model::Id;

use crate::cluster::{self, Cluster, Error, Kept, Outcome, Selection};
use crate::compact;
use crate::gather::Failed;
use crate::key::Key;
use crate::report::Report;

/// How often a query looks again when blocks that it wanted were merged or forgotten meanwhile.
const SNAPSHOTS_MAX: usize = 5;

/// Limits; times in milliseconds.
#[derive(Clone, Debug)]
pub struct Options {
    /// For how long every sample is kept (facts §23: 15 days); older days are thinned out.
    pub full_ms: i64,
    /// Blocks whose newest sample is older are removed.
    pub retention_ms: i64,
    /// Bytes of blocks and logs of all clusters; beyond, the oldest block goes first.
    pub disk_bytes_max: u64,
    /// Series of one cluster that are held at once, about 1 KB of memory each.
    pub series_max: usize,
    /// How much time goes into a block.
    pub window_ms: i64,
    /// How long a silent series takes up room, and a silent gateway is known.
    pub silence_ms: i64,
    /// A log larger than this becomes a block before its time.
    pub log_bytes_max: u64,
}

const DAY: i64 = 24 * 3_600_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            full_ms: 15 * DAY,
            retention_ms: 395 * DAY,
            disk_bytes_max: 4 << 30,
            series_max: 100_000,
            window_ms: 2 * 3_600_000,
            silence_ms: 4 * 3_600_000,
            log_bytes_max: 128 << 20,
        }
    }
}

impl Options {
    pub(crate) fn oldest_remembered(&self, now: i64) -> i64 {
        now.saturating_sub(self.silence_ms)
    }
}

/// Time series of all clusters. Calls block on the disk.
pub struct Store {
    folder: PathBuf,
    options: Options,
    clusters: Mutex<BTreeMap<Id, Arc<Mutex<Cluster>>>>,
    /// Two processes must not write here; held until the store is dropped.
    _lock: File,
}

impl Store {
    /// Opens the store in `folder`, which is created if absent, and finishes what was interrupted.
    pub fn open(folder: impl Into<PathBuf>, options: Options) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => {
                io::Error::other(format!("another process uses {}", folder.display()))
            }
        })?;
        let mut clusters = BTreeMap::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let id = path.file_name().and_then(|name| name.to_str()?.parse::<Id>().ok());
            if let Some(id) = id {
                clusters.insert(id, Arc::new(Mutex::new(Cluster::open(path, &options)?)));
            }
        }
        Ok(Self { folder, options, clusters: Mutex::new(clusters), _lock: lock })
    }

    /// Keeps a report of a cluster's gateway.
    pub fn append(&self, cluster: Id, report: &Report<'_>) -> io::Result<Outcome> {
        self.append_and_show(cluster, report, |_| ())
    }

    /// The same; `kept` sees what was kept. It must not wait: the cluster is locked, so that what it
    /// sees is in order.
    pub fn append_and_show(
        &self,
        cluster: Id,
        report: &Report<'_>,
        kept: impl FnOnce(Kept<'_>),
    ) -> io::Result<Outcome> {
        let found = match lock(&self.clusters).entry(cluster) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => {
                let opened = Cluster::open(self.folder.join(cluster.to_string()), &self.options)?;
                Arc::clone(new.insert(Arc::new(Mutex::new(opened))))
            }
        };
        lock(&found).append(report, &self.options, kept)
    }

    /// Calls `visit` with each series of a cluster that is wanted and its samples in order of time.
    /// Reports are not held up: only what is in memory is copied under the lock.
    pub fn select(
        &self,
        cluster: Id,
        selection: &Selection,
        mut visit: impl FnMut(&Key, &[(i64, f64)]),
    ) -> Result<(), Error> {
        let Some(found) = self.cluster(cluster) else { return Ok(()) };
        for _ in 0..SNAPSHOTS_MAX {
            let (blocks, memory) = lock(&found).snapshot(selection);
            if cluster::visit(selection, &blocks, memory, &mut visit)?.is_some() {
                return Ok(());
            }
        }
        Err(io::Error::other("blocks of metrics go faster than they can be read").into())
    }

    /// Milliseconds between samples, where those of a time were thinned out.
    pub fn resolution(&self, cluster: Id, start: i64, end: i64) -> Option<i64> {
        let found = self.cluster(cluster)?;
        let is_coarse = lock(&found).is_coarse(start, end);
        is_coarse.then_some(compact::RESOLUTION)
    }

    fn cluster(&self, id: Id) -> Option<Arc<Mutex<Cluster>>> {
        lock(&self.clusters).get(&id).cloned()
    }

    /// Forces logs to disk, closes stretches of time that are over, and forgets what is too old or
    /// too much. To be called every few seconds.
    pub fn maintain(&self, now: i64) -> io::Result<()> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        let mut outcome = Ok(());
        for cluster in &clusters {
            let mut cluster = lock(cluster);
            let sealed = if cluster.is_due(now, &self.options) {
                cluster.seal(now, &self.options)
            } else {
                cluster.sync()
            };
            outcome = outcome.and(sealed);
        }
        outcome.and(self.forget(&clusters, now))
    }

    fn forget(&self, clusters: &[Arc<Mutex<Cluster>>], now: i64) -> io::Result<()> {
        let oldest = now.saturating_sub(self.options.retention_ms);
        let mut blocks = Vec::new();
        for (position, cluster) in clusters.iter().enumerate() {
            let cluster = lock(cluster);
            blocks.extend(cluster.blocks.iter().map(|block| (block.last, position, block.clone())));
        }
        blocks.sort_by_key(|(last, ..)| *last);
        let logs: u64 = clusters.iter().map(|cluster| lock(cluster).log_bytes()).sum();
        let mut size = logs + blocks.iter().map(|(.., block)| block.size).sum::<u64>();
        for (last, position, block) in blocks {
            if last >= oldest && size <= self.options.disk_bytes_max {
                break;
            }
            size = size.saturating_sub(block.size);
            if let Some(cluster) = clusters.get(position) {
                lock(cluster).blocks.retain(|kept| kept.path != block.path);
            }
            // It may be merged since the list was made; the merged one is looked at the next time.
            cluster::unless_gone(fs::remove_file(&block.path))?;
        }
        Ok(())
    }

    /// Merges and thins out what is due, at most one block of each cluster; answers whether there may
    /// be more. Neither reports nor queries wait for it. Only one thread may call it at a time.
    pub fn compact(&self, now: i64) -> io::Result<bool> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        let mut has_more = false;
        for cluster in &clusters {
            let planned = lock(cluster).plan(now, &self.options);
            let Some((folder, plan)) = planned else { continue };
            match compact::merge(&folder, &plan) {
                Ok(Some(merged)) => {
                    lock(cluster).replace(merged)?;
                    has_more = true;
                }
                Ok(None) => {}
                Err(Failed { position, error }) => {
                    let block = plan.blocks.get(position);
                    let Some(block) = block.filter(|_| is_of_block(&error)) else {
                        return Err(error);
                    };
                    tracing::error!(path = %block.path.display(), %error, "metrics are left out");
                    lock(cluster).set_aside(block)?;
                    has_more = true;
                }
            }
        }
        Ok(has_more)
    }

    /// Forces everything to disk.
    pub fn sync(&self) -> io::Result<()> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        clusters.iter().try_for_each(|cluster| lock(cluster).sync())
    }
}

/// Whether trying again would not help: the block is damaged or gone.
fn is_of_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound)
}

/// Each call leaves a cluster whole even when it fails, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
