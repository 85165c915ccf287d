//! What a gateway says about itself: its state for heartbeats and on the status listener.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

/// A resource that is not in force as written, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The key of the resource, such as `/apisix/routes/7`.
    pub key: String,
    pub reason: String,
    /// The revision that brought it.
    pub revision: i64,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Applied {
    /// Zero until a configuration was loaded.
    pub revision: i64,
    pub digest: String,
    pub problems: Vec<Problem>,
    /// True while the configuration comes from the disk and the source was not seen yet.
    pub from_disk: bool,
}

/// The state of a running gateway; shared by those who change and those who report it.
pub struct Status {
    applied: watch::Sender<Applied>,
    reachable: AtomicBool,
    /// The revision that a restart would find on disk.
    saved: AtomicI64,
    /// Requests since the last heartbeat that arrived.
    requests: AtomicU64,
    since: Mutex<Instant>,
    started: Instant,
}

/// What clients and control planes read as the version of this software.
pub const VERSION: &str = concat!("Gantry/", env!("CARGO_PKG_VERSION"));

impl Default for Status {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            applied: watch::Sender::new(Applied::default()),
            reachable: AtomicBool::new(false),
            saved: AtomicI64::new(0),
            requests: AtomicU64::new(0),
            since: Mutex::new(now),
            started: now,
        }
    }
}

impl Status {
    /// Says that this is in force now.
    pub fn apply(&self, applied: Applied) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.applied.send_replace(applied);
    }

    /// Wakes whenever something new is in force.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Applied> {
        self.applied.subscribe()
    }

    /// What is in force.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied.borrow().clone()
    }

    /// True once a configuration is in force; the gateway may get traffic.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.applied.borrow().revision > 0
    }

    /// Says whether the source answers.
    pub fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }

    /// Whether the source answers.
    #[must_use]
    pub fn reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Says which revision is safe on disk.
    pub fn set_saved(&self, revision: i64) {
        self.saved.store(revision, Ordering::Relaxed);
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests counted and not reported yet.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// These requests were reported.
    pub fn reported(&self, requests: u64) {
        self.requests.fetch_sub(requests, Ordering::Relaxed);
    }

    /// The state for people and scripts.
    #[must_use]
    pub fn describe(&self) -> Value {
        let Applied { revision, digest, problems, from_disk } = self.applied();
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        json!({
            "version": VERSION,
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": revision > 0,
            "revision": revision,
            "digest": digest,
            "configuration_age_seconds": since.elapsed().as_secs(),
            "configuration_from_disk": from_disk,
            "cached_revision": self.saved.load(Ordering::Relaxed),
            "source_reachable": self.reachable(),
            "problems": problems,
        })
    }
}
