//! Which gateways are there that do not report: stock APISIX without an agent is seen by its open
//! watches, and by what its plugin server-info writes about itself.
//!
//! Only the JSON door counts. Gantry's own gateways speak gRPC, and report.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use gantry_app::instance::{self, Noticed};
use gantry_app::{App, telemetry};
use gantry_model::instance::Source;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::key::{KeyRange, SERVER_INFO, SERVER_INFO_END};
use crate::space::{Space, Spaces};

/// How often is told who is there; a third of the silence after which an instance counts as lost.
const EVERY: Duration = Duration::from_secs(10);

/// How long is waited for others when somebody comes: after a restart of the server all come at once.
const GATHER: Duration = Duration::from_millis(500);

/// APISIX 2.15 closes its watches and opens them anew all the time.
const LINGER: Duration = Duration::from_secs(10);

/// Addresses remembered per cluster.
const ADDRESSES_MAX: usize = 10_000;

/// The addresses that are connected to one cluster.
#[derive(Default)]
pub struct Presence {
    seen: Mutex<Seen>,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Seen {
    watches: HashMap<IpAddr, Watches>,
    /// From where a key with server information was written.
    writers: HashMap<String, IpAddr>,
    /// The instances that were told in this round.
    told: HashSet<String>,
}

struct Watches {
    open: usize,
    /// When the last of them ended.
    ended: Instant,
}

/// An open watch; it ends when this is dropped.
pub struct Present {
    space: Arc<Space>,
    address: IpAddr,
}

impl Presence {
    /// `news` is woken when somebody comes.
    pub fn new(news: Arc<Notify>) -> Self {
        Self { seen: Mutex::default(), news }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes from where a report was written.
    pub fn wrote(&self, key: &str, address: IpAddr) {
        let mut seen = self.seen();
        if seen.writers.len() < ADDRESSES_MAX
            && seen.writers.insert(key.to_owned(), address).is_none()
        {
            self.news.notify_one();
        }
    }

    /// The addresses with a watch that is open, or was just now.
    fn watching(&self) -> Vec<IpAddr> {
        let mut seen = self.seen();
        seen.watches.retain(|_, one| one.open > 0 || one.ended.elapsed() < LINGER);
        seen.watches.keys().copied().collect()
    }

    fn writer(&self, key: &str) -> Option<IpAddr> {
        self.seen().writers.get(key).copied()
    }

    /// A round begins, in which everybody is told.
    fn begin_round(&self) {
        self.seen().told.clear();
    }

    /// Leaves out who was told in this round.
    fn untold(&self, noticed: Vec<Noticed>) -> Vec<Noticed> {
        let seen = self.seen();
        noticed.into_iter().filter(|one| !seen.told.contains(&one.id)).collect()
    }

    fn told(&self, ids: Vec<String>) {
        self.seen().told.extend(ids);
    }

    fn forget_writers(&self, kept: impl Fn(&str) -> bool) {
        self.seen().writers.retain(|key, _| kept(key));
    }
}

impl Present {
    /// A watch of `address` begins; `None` if there are too many addresses to remember.
    pub fn begin(space: Arc<Space>, address: IpAddr) -> Option<Self> {
        let mut seen = space.presence.seen();
        if seen.watches.len() >= ADDRESSES_MAX && !seen.watches.contains_key(&address) {
            return None;
        }
        let now = Instant::now();
        let watches = seen.watches.entry(address).or_insert_with(|| {
            space.presence.news.notify_one();
            Watches { open: 0, ended: now }
        });
        watches.open += 1;
        drop(seen);
        Some(Self { space, address })
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        if let Some(watches) = self.space.presence.seen().watches.get_mut(&self.address) {
            watches.open = watches.open.saturating_sub(1);
            watches.ended = Instant::now();
        }
    }
}

/// What the plugin server-info of APISIX writes.
#[derive(Deserialize)]
struct ServerInfo {
    id: String,
    #[serde(default)]
    hostname: String,
    #[serde(default)]
    version: String,
    #[serde(default)]
    boot_time: Option<i64>,
}

/// Tells the control plane who is there, until the server stops.
pub async fn tell(app: App, spaces: Spaces) {
    let task = telemetry::task(&app, "presence", 6 * EVERY);
    let mut tick = tokio::time::interval(EVERY);
    loop {
        let is_round = tokio::select! {
            () = spaces.shutdown().cancelled() => return,
            _ = tick.tick() => true,
            () = spaces.news().notified() => {
                tokio::time::sleep(GATHER).await;
                false
            }
        };
        task.beat();
        for space in spaces.all() {
            if is_round {
                space.presence.begin_round();
            }
            let noticed = space.presence.untold(noticed(&space));
            let ids = noticed.iter().map(|one| one.id.clone()).collect();
            let noted = instance::notice(&space.app, space.cluster, noticed).await;
            task.ended(&noted);
            match noted {
                Ok(()) => space.presence.told(ids),
                Err(error) => {
                    tracing::warn!(cluster = %space.cluster, error = &error as &dyn std::error::Error,
                        "who is connected was not noted; trying again");
                }
            }
        }
    }
}

fn noticed(space: &Space) -> Vec<Noticed> {
    let range = KeyRange::new(
        Bytes::from_static(SERVER_INFO.as_bytes()),
        Bytes::from_static(SERVER_INFO_END.as_bytes()),
    );
    let reports = space.reports().range(&range);
    let keys: Vec<&str> =
        reports.iter().filter_map(|report| std::str::from_utf8(&report.key).ok()).collect();
    space.presence.forget_writers(|key| keys.contains(&key));
    let writers = reports.iter().filter_map(|report| {
        let info: ServerInfo = serde_json::from_slice(&report.value).ok()?;
        let address = space.presence.writer(std::str::from_utf8(&report.key).ok()?);
        let version = info.version.trim_start_matches("APISIX/");
        Some(Noticed {
            id: info.id,
            hostname: info.hostname,
            ip: address.map(|address| address.to_string()).unwrap_or_default(),
            version: format!("APISIX/{version}"),
            run: info.boot_time.map(|time| time.to_string()).unwrap_or_default(),
            source: Source::ServerInfo,
        })
    });
    let watchers = space.presence.watching().into_iter().map(|address| Noticed {
        id: instance::connection_id(&address.to_string()),
        hostname: address.to_string(),
        ip: address.to_string(),
        version: "APISIX".to_owned(),
        run: String::new(),
        source: Source::Connection,
    });
    writers.chain(watchers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed(id: &str) -> Noticed {
        Noticed {
            id: id.to_owned(),
            hostname: String::new(),
            ip: String::new(),
            version: String::new(),
            run: String::new(),
            source: Source::Connection,
        }
    }

    #[test]
    fn a_newcomer_makes_nobody_else_told_again() {
        let presence = Presence::default();
        let all = || vec![noticed("old"), noticed("new")];
        assert_eq!(presence.untold(all()).len(), 2);
        presence.told(vec!["old".to_owned()]);
        let untold = presence.untold(all());
        assert_eq!(untold.iter().map(|one| &*one.id).collect::<Vec<_>>(), ["new"]);
        presence.begin_round();
        assert_eq!(presence.untold(all()).len(), 2, "nobody is left out of a round");
    }
}
