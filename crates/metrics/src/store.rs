//! All clusters, and what is forgotten when.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gantry_model::Id;

use crate::block::Block;
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
    /// Bytes of blocks and logs of all clusters; beyond, the oldest block of the largest cluster
    /// goes first.
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

    /// Calls `visit` with each series of a cluster that is wanted and its samples in order of time;
    /// answers what it made of them. Reports are not held up: only what is in memory is copied under
    /// the lock. A block that is damaged is set aside, and the others are visited from the beginning.
    pub fn select<T: Default>(
        &self,
        cluster: Id,
        selection: &Selection,
        mut visit: impl FnMut(&mut T, &Key, &[(i64, f64)]),
    ) -> Result<T, Error> {
        let Some(found) = self.cluster(cluster) else { return Ok(T::default()) };
        for _ in 0..SNAPSHOTS_MAX {
            let (blocks, memory) = lock(&found).snapshot(selection);
            let mut made = T::default();
            let visit = |key: &Key, samples: &[(i64, f64)]| visit(&mut made, key, samples);
            match cluster::visit(selection, &blocks, memory, visit) {
                Ok(Some(())) => return Ok(made),
                Ok(None) => return Err(Error::TooMany),
                Err(failed) => set_aside(&found, &blocks, failed)?,
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
        let mut outcome = Ok(());
        for cluster in clusters {
            outcome = outcome.and(lock(cluster).forget(|block| block.last < oldest));
        }
        loop {
            let sizes: Vec<u64> = clusters.iter().map(|cluster| lock(cluster).bytes()).collect();
            if outcome.is_err() || sizes.iter().sum::<u64>() <= self.options.disk_bytes_max {
                return outcome;
            }
            // Nobody's past goes for another's noise: the largest gives.
            let giving = clusters.iter().zip(sizes);
            let giving = giving.filter(|(cluster, _)| lock(cluster).has_surplus());
            let Some((largest, _)) = giving.max_by_key(|(_, size)| *size) else { return outcome };
            outcome = lock(largest).make_room();
        }
    }

    /// Merges and thins out what is due, at most one block of each cluster; answers whether there may
    /// be more. Neither reports nor queries wait for it. Only one thread may call it at a time.
    pub fn compact(&self, now: i64) -> io::Result<bool> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        let mut outcome = Ok(false);
        for cluster in &clusters {
            let has_more = self.compact_one(cluster, now);
            outcome = match (outcome, has_more) {
                (Ok(any), Ok(one)) => Ok(any || one),
                // The first error is told; the others are compacted all the same.
                (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            };
        }
        outcome
    }

    fn compact_one(&self, cluster: &Mutex<Cluster>, now: i64) -> io::Result<bool> {
        let planned = lock(cluster).plan(now, &self.options);
        let Some((folder, plan)) = planned else { return Ok(false) };
        match compact::merge(&folder, &plan) {
            Ok(Some(merged)) => lock(cluster).replace(merged)?,
            Ok(None) => return Ok(false),
            Err(failed) => set_aside(cluster, &plan.blocks, failed)?,
        }
        Ok(true)
    }

    /// Forces everything to disk.
    pub fn sync(&self) -> io::Result<()> {
        let clusters: Vec<_> = lock(&self.clusters).values().cloned().collect();
        clusters.iter().try_for_each(|cluster| lock(cluster).sync())
    }
}

/// Sets the block aside that could not be read because it is damaged, or is gone. Where trying again
/// may help, the error is answered.
fn set_aside(cluster: &Mutex<Cluster>, blocks: &[Block], failed: Failed) -> io::Result<()> {
    let Failed { position, error } = failed;
    let is_of_block = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::NotFound);
    let Some(block) = blocks.get(position).filter(|_| is_of_block) else { return Err(error) };
    // One that is gone was merged or forgotten meanwhile.
    if error.kind() == io::ErrorKind::InvalidData {
        tracing::error!(path = %block.path.display(), %error, "metrics are left out");
    }
    lock(cluster).set_aside(block)
}

/// Each call leaves a cluster whole even when it fails, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
