//! What a gateway says about itself: its state for heartbeats and on the status listener.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Instant,
};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    exposition::{family, sample},
    machine,
};

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
    /// Why the source does not answer, or why what it says cannot be used.
    complaint: Mutex<Option<String>>,
    /// The revision that a restart would find on disk.
    saved: AtomicI64,
    /// Requests since the start, and how many of them heartbeats have reported.
    requests: AtomicU64,
    reported: AtomicU64,
    /// Of the listeners that take traffic.
    pub connections: Arc<Gauge>,
    since: Mutex<Instant>,
    started: Instant,
}

/// Counts connections.
#[derive(Default)]
pub struct Gauge {
    accepted: AtomicU64,
    closed: AtomicU64,
}

/// An open connection; counted as closed when dropped.
pub struct Open(Arc<Gauge>);

impl Gauge {
    /// Counts a connection as open until the answer is dropped.
    #[must_use]
    pub fn open(self: &Arc<Self>) -> Open {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(self))
    }

    /// How many connections there have been, and how many there are.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let closed = self.closed.load(Ordering::Relaxed);
        let accepted = self.accepted.load(Ordering::Relaxed);
        (accepted, accepted.saturating_sub(closed))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

fn gauge(out: &mut String, name: &str, help: &str) {
    family(out, name, "gauge", help);
}

/// What clients and control planes read as the version of this software.
pub const VERSION: &str = concat!("Gantry/", env!("CARGO_PKG_VERSION"));

impl Default for Status {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            applied: watch::Sender::new(Applied::default()),
            reachable: AtomicBool::new(false),
            complaint: Mutex::default(),
            saved: AtomicI64::new(0),
            requests: AtomicU64::new(0),
            reported: AtomicU64::new(0),
            connections: Arc::default(),
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

    /// Says whether the source answers, or why not.
    pub fn set_reachable(&self, reachable: Result<(), String>) {
        self.reachable.store(reachable.is_ok(), Ordering::Relaxed);
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = reachable.err();
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

    /// Requests since the start.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests counted and not reported yet.
    #[must_use]
    pub fn unreported(&self) -> u64 {
        let reported = self.reported.load(Ordering::Relaxed);
        self.requests().saturating_sub(reported)
    }

    /// These requests were reported.
    pub fn reported(&self, requests: u64) {
        self.reported.fetch_add(requests, Ordering::Relaxed);
    }

    /// Appends the state in Prometheus' text form, under the names APISIX uses.
    pub fn render(&self, out: &mut String) {
        let requests = self.requests.load(Ordering::Relaxed);
        let revision = u64::try_from(self.applied.borrow().revision).unwrap_or(0);
        let node = [("hostname", machine::hostname()), ("version", VERSION)];
        let key = [("key", "max_modify_index")];
        gauge(out, "etcd_reachable", "Whether the configuration source answers");
        sample(out, "etcd_reachable", &[], self.reachable().into());
        gauge(out, "etcd_modify_indexes", "Revision of the configuration in force");
        sample(out, "etcd_modify_indexes", &key, revision);
        gauge(out, "http_requests_total", "Requests since the start");
        sample(out, "http_requests_total", &[], requests);
        gauge(out, "nginx_http_current_connections", "Connections of clients");
        self.render_connections(out);
        let (accepted, _) = self.connections.counts();
        sample(out, "nginx_http_current_connections", &[("state", "handled")], accepted);
        gauge(out, "node_info", "This gateway");
        sample(out, "node_info", &node, 1);
    }

    /// Appends the connections only.
    pub fn render_connections(&self, out: &mut String) {
        let (accepted, active) = self.connections.counts();
        sample(out, "nginx_http_current_connections", &[("state", "accepted")], accepted);
        sample(out, "nginx_http_current_connections", &[("state", "active")], active);
    }

    /// What a load balancer asks before it sends traffic.
    #[must_use]
    pub fn readiness(&self) -> Value {
        let Applied { revision, digest, problems, .. } = self.applied();
        json!({
            "ready": revision > 0,
            "revision": revision,
            "digest": digest,
            "configuration_age_seconds": self.age_seconds(),
            "problems": problems.len(),
        })
    }

    /// Since the configuration in force came.
    fn age_seconds(&self) -> u64 {
        self.since.lock().unwrap_or_else(PoisonError::into_inner).elapsed().as_secs()
    }

    /// The state for people and scripts.
    #[must_use]
    pub fn describe(&self) -> Value {
        let Applied { revision, digest, problems, from_disk } = self.applied();
        let (accepted, open) = self.connections.counts();
        json!({
            "version": VERSION,
            "hostname": machine::hostname(),
            "requests": self.requests.load(Ordering::Relaxed),
            "connections": {"accepted": accepted, "open": open},
            "uptime_seconds": self.started.elapsed().as_secs(),
            "ready": revision > 0,
            "revision": revision,
            "digest": digest,
            "configuration_age_seconds": self.age_seconds(),
            "configuration_from_disk": from_disk,
            "cached_revision": self.saved.load(Ordering::Relaxed),
            "source_reachable": self.reachable(),
            "source_problem": *self.complaint.lock().unwrap_or_else(PoisonError::into_inner),
            "problems": problems,
        })
    }
}
