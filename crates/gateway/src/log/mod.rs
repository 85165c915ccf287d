//! What happened, written down: entries are made when a request is over, wait in queues until there
//! are enough of them, and are sent by `Background`. Who sends them where is a plugin's business.

mod access;
mod file;
mod format;
mod queue;
mod record;
mod recorder;
mod socket;
mod tape;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use access::AccessLog;
pub use file::LogFile;
pub use format::Format;
pub use queue::{Deliver, Failed, Pace, Queue, document};
pub use record::millis;
pub use recorder::Recorder;
pub use socket::{Endpoint, Security, Stream, anyone, known};
pub use tape::{Tape, Tapes};

use crate::exposition::{family, sample};
use queue::{Buffer, Lane};

/// The queues of one gateway and what became of their entries.
#[derive(Default)]
pub struct Logs {
    /// Counters by plugin.
    lanes: Mutex<BTreeMap<&'static str, Arc<Lane>>>,
    /// Queues that have had entries.
    buffers: Mutex<Vec<Weak<Buffer>>>,
    files: Mutex<HashMap<PathBuf, Weak<LogFile>>>,
    clients: Mutex<[Option<reqwest::Client>; 2]>,
    closing: CancellationToken,
    tasks: TaskTracker,
}

impl Logs {
    /// The file at a path; whoever writes to the same path shares it.
    #[must_use]
    pub fn file(&self, path: &Path) -> Arc<LogFile> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(path).and_then(Weak::upgrade) {
            return file;
        }
        files.retain(|_, file| file.strong_count() > 0);
        let file = Arc::new(LogFile::new(path));
        files.insert(path.to_owned(), Arc::downgrade(&file));
        file
    }

    /// The HTTP client of everything that is sent in the background; `verify` is whether
    /// certificates are looked at.
    pub fn client(&self, verify: bool) -> Result<reqwest::Client, String> {
        let mut clients = lock(&self.clients);
        let [lax, strict] = &mut *clients;
        let client = if verify { strict } else { lax };
        if let Some(client) = client {
            return Ok(client.clone());
        }
        let built = reqwest::Client::builder()
            .no_proxy()
            .tls_danger_accept_invalid_certs(!verify)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| format!("the HTTP client: {error}"))?;
        Ok(client.insert(built).clone())
    }

    /// Sends what still waits, and ends; not longer than `limit`.
    pub async fn close(&self, limit: Duration) {
        self.closing.cancel();
        self.tasks.close();
        if tokio::time::timeout(limit, self.tasks.wait()).await.is_err() {
            let left: usize = lock(&self.lanes).values().map(|lane| lane.pending()).sum();
            tracing::warn!(left, "log entries are lost that could not be sent in time");
        }
    }

    /// The counters for people and scripts.
    #[must_use]
    pub fn describe(&self) -> Value {
        let lanes = lock(&self.lanes);
        lanes.iter().map(|(name, lane)| ((*name).to_owned(), lane.describe())).collect()
    }

    /// Appends the counters in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        family(out, "batch_process_entries", "gauge", "Log entries that wait");
        for buffer in self.buffers() {
            let Buffer { name, route_id, server_addr, .. } = &*buffer;
            let labels =
                [("name", &**name), ("route_id", &**route_id), ("server_addr", &**server_addr)];
            sample(out, "batch_process_entries", &labels, buffer.pending() as u64);
        }
        family(out, "log_entries_total", "counter", "Log entries by what became of them");
        for (plugin, lane) in &*lock(&self.lanes) {
            for (outcome, count) in lane.counts() {
                let labels = [("plugin", *plugin), ("outcome", outcome)];
                sample(out, "log_entries_total", &labels, count);
            }
        }
    }

    fn lane(&self, plugin: &'static str) -> Arc<Lane> {
        Arc::clone(lock(&self.lanes).entry(plugin).or_insert_with(|| Arc::new(Lane::new(plugin))))
    }

    fn buffers(&self) -> Vec<Arc<Buffer>> {
        let mut buffers = lock(&self.buffers);
        buffers.retain(|buffer| buffer.strong_count() > 0);
        buffers.iter().filter_map(Weak::upgrade).collect()
    }
}

/// What these locks hold is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Lane {
    #[expect(clippy::indexing_slicing, reason = "the value was made an object here")]
    fn describe(&self) -> Value {
        let counts = self.counts().into_iter().map(|(outcome, count)| (outcome.to_owned(), count));
        let mut described: Value = counts.collect();
        described["pending"] = json!(self.pending());
        described
    }
}
