//! All clusters, and what is forgotten when.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_model::Id;

use crate::cluster::{self, Cluster, Error, Outcome, Selection};
use crate::key::Key;
use crate::report::Report;

/// Limits; times in milliseconds.
#[derive(Clone, Debug)]
pub struct Options {
    /// Blocks whose newest sample is older are removed (facts §23: 15 days).
    pub retention_ms: i64,
    /// Bytes of blocks of all clusters; beyond, the oldest block goes first.
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

impl Default for Options {
    fn default() -> Self {
        Self {
            retention_ms: 15 * 24 * 3_600_000,
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
        let found = match lock(&self.clusters).entry(cluster) {
            Entry::Occupied(known) => Arc::clone(known.get()),
            Entry::Vacant(new) => {
                let opened = Cluster::open(self.folder.join(cluster.to_string()), &self.options)?;
                Arc::clone(new.insert(Arc::new(Mutex::new(opened))))
            }
        };
        lock(&found).append(report, &self.options)
    }

    /// Calls `visit` with each series of a cluster that is wanted and its samples in order of time.
    /// Reports are not held up: only what is in memory is copied under the lock.
    pub fn select(
        &self,
        cluster: Id,
        selection: &Selection,
        visit: impl FnMut(&Key, &[(i64, f64)]),
    ) -> Result<(), Error> {
        let Some(found) = lock(&self.clusters).get(&cluster).cloned() else { return Ok(()) };
        let (blocks, memory) = lock(&found).snapshot(selection);
        cluster::visit(selection, &blocks, memory, visit)
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
        let mut size: u64 = blocks.iter().map(|(.., block)| block.size).sum();
        for (last, position, block) in blocks {
            if last >= oldest && size <= self.options.disk_bytes_max {
                break;
            }
            size = size.saturating_sub(block.size);
            if let Some(cluster) = clusters.get(position) {
                lock(cluster).blocks.retain(|kept| kept.path != block.path);
            }
            fs::remove_file(&block.path)?;
        }
        Ok(())
    }

    /// Forces everything to disk.
    pub fn sync(&self) -> io::Result<()> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        clusters.iter().try_for_each(|cluster| lock(cluster).sync())
    }
}

/// Each call leaves a cluster whole even when it fails, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
