//! What all parts of one running gateway share. There is nothing global: a process may run ten.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use serde_json::Value;

use crate::{log::AccessLog, plugin::Shared, snapshot::Snapshot, status::Status};

/// One running gateway.
#[derive(Default)]
pub struct State {
    current: ArcSwap<Snapshot>,
    pub status: Arc<Status>,
    pub shared: Arc<Shared>,
    /// None if it is switched off.
    pub access_log: Option<AccessLog>,
}

impl State {
    /// A gateway that has no configuration yet; `access_log` gets a line for each request.
    #[must_use]
    pub fn new(shared: Shared, access_log: Option<&Path>) -> Self {
        let shared = Arc::new(shared);
        let status = Arc::clone(&shared.status);
        let access_log = access_log.map(|path| AccessLog::new(path, &shared));
        Self { status, shared, access_log, ..Self::default() }
    }

    /// The snapshot in force; whoever holds it sees no change.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Puts a snapshot in force for all requests that begin from now on.
    pub fn publish(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// The state for people and scripts.
    #[must_use]
    #[expect(clippy::indexing_slicing, reason = "the status is an object")]
    pub fn describe(&self) -> Value {
        let upstreams = &self.shared.upstreams;
        let mut state = self.status.describe();
        state["log_entries"] = self.shared.logs.describe();
        state["health"] = upstreams.roster.describe();
        state["registries"] = upstreams.directory.describe();
        state
    }

    /// What a control plane is told of them, in at most `room` bytes, and whether something was left
    /// out for that.
    #[must_use]
    pub fn report(&self, room: usize) -> (String, bool) {
        let mut text = String::new();
        self.status.render_connections(&mut text);
        let truncated = self.shared.metrics.report(&mut text, room);
        (text, truncated)
    }
}
