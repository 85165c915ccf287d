//! Entries wait here until there are enough of them or they are old enough; then they are sent, and
//! sent again if that failed. What would wait beyond the limits is dropped and counted.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use gantry_routing::vars::Vars as _;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};

use crate::{
    exchange::Facts,
    plugin::{Place, Shared, config},
};

/// Entries of one plugin that may wait, unless its metadata says otherwise.
const PENDING_MAX: usize = 8192;
/// Bytes that the entries of one plugin may take while they wait, whatever their number.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Batches of one queue that are on their way at the same time.
const IN_FLIGHT: usize = 4;

/// Where batches go.
#[async_trait]
pub trait Deliver: Send + Sync + 'static {
    /// Sends entries in their order.
    ///
    /// # Errors
    /// When not all of them arrived; those that did are not sent again.
    async fn deliver(&self, entries: &[String]) -> Result<(), Failed>;
}

/// Why a batch did not arrive.
#[derive(Debug)]
pub struct Failed {
    /// How many of its first entries did.
    pub delivered: usize,
    pub reason: String,
}

impl<E: std::fmt::Display> From<E> for Failed {
    fn from(error: E) -> Self {
        Self { delivered: 0, reason: error.to_string() }
    }
}

/// When entries are sent.
#[derive(Debug, Clone, Deserialize)]
pub struct Pace {
    #[serde(rename = "batch_max_size")]
    pub entries_max: usize,
    /// Without a new entry.
    #[serde(rename = "inactive_timeout", deserialize_with = "seconds")]
    pub inactive: Duration,
    /// Since the oldest entry.
    #[serde(rename = "buffer_duration", deserialize_with = "seconds")]
    pub age: Duration,
    #[serde(rename = "max_retry_count")]
    pub retries: u64,
    /// Between tries.
    #[serde(deserialize_with = "seconds")]
    pub retry_delay: Duration,
    /// Bytes at which a batch is sent although it has room.
    #[serde(skip)]
    pub bytes_max: Option<usize>,
    #[serde(rename = "name")]
    pub label: String,
    /// Batches that may be on their way together; 1 keeps the order of entries.
    #[serde(skip, default = "in_flight")]
    pub in_flight: usize,
}

fn in_flight() -> usize {
    IN_FLIGHT
}

/// A year is as good as forever.
fn seconds<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let seconds = f64::deserialize(deserializer)?;
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or(YEAR).min(YEAR))
}

impl Pace {
    /// Sends as soon as there is something to send, and in order.
    #[must_use]
    pub fn at_once(label: &str) -> Self {
        Self {
            entries_max: 1000,
            inactive: Duration::ZERO,
            age: Duration::ZERO,
            retries: 0,
            retry_delay: Duration::ZERO,
            bytes_max: None,
            label: label.to_owned(),
            in_flight: 1,
        }
    }
}

/// The queue of one configured place. Its task starts with the first entry and ends, when
/// everything was sent, after the queue is gone.
pub struct Queue {
    shared: Arc<Shared>,
    lane: Arc<Lane>,
    pace: Arc<Pace>,
    room: usize,
    target: Arc<dyn Deliver>,
    started: OnceLock<(mpsc::Sender<String>, Arc<Buffer>)>,
}

impl Queue {
    /// A queue of a plugin, as its configuration and metadata say.
    pub fn compile(
        plugin: &'static str,
        value: &Value,
        place: &Place<'_>,
        target: Arc<dyn Deliver>,
    ) -> Result<Self, String> {
        let room =
            place.metadata.and_then(|metadata| metadata.get("max_pending_entries")?.as_u64());
        let room = room.and_then(|room| usize::try_from(room).ok()).unwrap_or(PENDING_MAX);
        Ok(Self::new(plugin, config::read(value)?, place.shared, target).with_room(room))
    }

    /// A queue with its own pace.
    #[must_use]
    pub fn new(
        plugin: &'static str,
        pace: Pace,
        shared: &Arc<Shared>,
        target: Arc<dyn Deliver>,
    ) -> Self {
        Self {
            lane: shared.logs.lane(plugin),
            shared: Arc::clone(shared),
            pace: Arc::new(pace),
            room: PENDING_MAX,
            target,
            started: OnceLock::new(),
        }
    }

    /// Sends a batch also when it has this many bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes_max: usize) -> Self {
        Arc::make_mut(&mut self.pace).bytes_max = Some(bytes_max);
        self
    }

    /// Lets this many entries of the plugin wait.
    #[must_use]
    pub fn with_room(mut self, room: usize) -> Self {
        self.room = room.min(tokio::sync::Semaphore::MAX_PERMITS);
        self
    }

    /// Puts an entry in, unless there is no room; then it is not even made.
    pub fn push(&self, facts: &Facts<'_>, entry: impl FnOnce() -> String) {
        if !self.lane.has_room(self.room) {
            return self.lane.overflow();
        }
        let entry = entry();
        let bytes = entry.len();
        let (sender, buffer) = self.started.get_or_init(|| self.start(facts));
        self.lane.enter(bytes);
        buffer.pending.fetch_add(1, Ordering::Relaxed);
        if sender.try_send(entry).is_err() {
            buffer.pending.fetch_sub(1, Ordering::Relaxed);
            self.lane.leave(1, bytes);
            self.lane.overflow();
        }
    }

    fn start(&self, facts: &Facts<'_>) -> (mpsc::Sender<String>, Arc<Buffer>) {
        let text = |name: &str| {
            facts.var(name).and_then(|value| Some(value.text()?.into_owned())).unwrap_or_default()
        };
        let buffer = Arc::new(Buffer {
            name: self.pace.label.clone(),
            route_id: text("route_id"),
            server_addr: text("server_addr"),
            pending: AtomicUsize::new(0),
        });
        let logs = &self.shared.logs;
        super::lock(&logs.buffers).push(Arc::downgrade(&buffer));
        let (sender, entries) = mpsc::channel(self.room);
        let task = Task {
            lane: Arc::clone(&self.lane),
            pace: Arc::clone(&self.pace),
            target: Arc::clone(&self.target),
            buffer: Arc::clone(&buffer),
            closing: logs.closing.clone(),
        };
        self.shared.background.spawn(logs.tasks.track_future(task.run(entries)));
        (sender, buffer)
    }
}

/// What metrics say about one queue.
pub struct Buffer {
    pub name: String,
    pub route_id: String,
    pub server_addr: String,
    pending: AtomicUsize,
}

impl Buffer {
    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }
}

/// Takes entries out of the queue, batch by batch.
#[derive(Clone)]
struct Task {
    lane: Arc<Lane>,
    pace: Arc<Pace>,
    target: Arc<dyn Deliver>,
    buffer: Arc<Buffer>,
    closing: tokio_util::sync::CancellationToken,
}

/// Entries on their way.
struct Batch {
    entries: Vec<String>,
    bytes: usize,
    since: Instant,
    newest: Instant,
}

impl Batch {
    fn new() -> Self {
        let now = Instant::now();
        Self { entries: Vec::new(), bytes: 0, since: now, newest: now }
    }

    fn push(&mut self, entry: String) {
        self.newest = Instant::now();
        if self.entries.is_empty() {
            self.since = self.newest;
        }
        self.bytes += entry.len();
        self.entries.push(entry);
    }

    fn is_full(&self, pace: &Pace) -> bool {
        self.entries.len() >= pace.entries_max
            || pace.bytes_max.is_some_and(|bytes| self.bytes >= bytes)
    }

    fn due(&self, pace: &Pace) -> Instant {
        (self.newest + pace.inactive).min(self.since + pace.age)
    }
}

impl Task {
    async fn run(self, mut entries: mpsc::Receiver<String>) {
        let mut sending = JoinSet::new();
        let mut batch = Batch::new();
        loop {
            tokio::select! {
                biased;
                entry = entries.recv() => {
                    let Some(entry) = entry else { break };
                    batch.push(entry);
                    if batch.is_full(&self.pace) {
                        self.send(&mut sending, &mut batch).await;
                    }
                }
                () = tokio::time::sleep_until(batch.due(&self.pace)), if batch.bytes > 0 => {
                    self.send(&mut sending, &mut batch).await;
                }
                () = self.closing.cancelled(), if !entries.is_closed() => entries.close(),
            }
        }
        if !batch.entries.is_empty() {
            self.send(&mut sending, &mut batch).await;
        }
        while sending.join_next().await.is_some() {}
    }

    /// Sends a batch, once not too many others are on their way.
    async fn send(&self, sending: &mut JoinSet<()>, batch: &mut Batch) {
        while sending.len() >= self.pace.in_flight {
            sending.join_next().await;
        }
        let batch = std::mem::replace(batch, Batch::new());
        sending.spawn(self.clone().deliver(batch));
    }

    async fn deliver(self, batch: Batch) {
        let mut rest = batch.entries.as_slice();
        let mut tries = 0;
        let failed = loop {
            let Err(Failed { delivered, reason }) = self.target.deliver(rest).await else {
                break 0;
            };
            rest = rest.get(delivered..).unwrap_or_default();
            let (plugin, left) = (self.lane.plugin, rest.len());
            tracing::warn!(plugin, reason, left, "log entries could not be sent");
            if tries >= self.pace.retries {
                break left;
            }
            tries += 1;
            // Nobody knows how much time is left at the end, so there are no more pauses then.
            tokio::select! {
                () = tokio::time::sleep(self.pace.retry_delay) => {}
                () = self.closing.cancelled() => {}
            }
        };
        self.settle(&batch, failed);
    }

    fn settle(&self, batch: &Batch, failed: usize) {
        let count = batch.entries.len();
        self.lane.leave(count, batch.bytes);
        self.buffer.pending.fetch_sub(count, Ordering::Relaxed);
        self.lane.failed.fetch_add(failed as u64, Ordering::Relaxed);
        self.lane.sent.fetch_add(count.saturating_sub(failed) as u64, Ordering::Relaxed);
    }
}

/// The entries of one plugin, in all its places together.
pub struct Lane {
    plugin: &'static str,
    pending: AtomicUsize,
    bytes: AtomicUsize,
    sent: AtomicU64,
    /// Given up after the last try.
    failed: AtomicU64,
    /// Dropped for want of room.
    dropped: AtomicU64,
    /// The second of the last complaint.
    complained: AtomicI64,
}

impl Lane {
    pub fn new(plugin: &'static str) -> Self {
        Self {
            plugin,
            pending: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            complained: AtomicI64::new(0),
        }
    }

    pub fn pending(&self) -> usize {
        self.pending.load(Ordering::Relaxed)
    }

    /// What became of the entries that do not wait any more.
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("sent", load(&self.sent)),
            ("failed", load(&self.failed)),
            ("dropped", load(&self.dropped)),
        ]
    }

    fn has_room(&self, room: usize) -> bool {
        self.pending() < room && self.bytes.load(Ordering::Relaxed) < BYTES_MAX
    }

    fn enter(&self, bytes: usize) {
        self.pending.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn leave(&self, entries: usize, bytes: usize) {
        self.pending.fetch_sub(entries, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a dropped entry, and complains at most once per second.
    fn overflow(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        let now = Timestamp::now().as_second();
        if self.complained.swap(now, Ordering::Relaxed) != now {
            tracing::error!(
                plugin = self.plugin,
                "too many log entries wait; new ones are dropped"
            );
        }
    }
}

/// A batch as one text: a JSON array, or the only entry if batches cannot have two.
#[must_use]
pub fn document(entries: &[String], single: bool) -> String {
    match entries {
        [entry] if single => entry.clone(),
        entries => format!("[{}]", entries.join(",")),
    }
}
