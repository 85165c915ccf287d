//! Brings the configuration here: reads everything at one revision, then follows the changes.
//! What a value means is not known here.

mod client;
mod file;
mod pace;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
    time::Duration,
};

use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use client::{Client, Event, Lost, Watch};
pub use client::{Etcd, Login, SourceTls};
pub use pace::Pace;

/// Where configuration comes from.
#[derive(Debug, Clone)]
pub enum Source {
    Etcd(Etcd),
    /// A file in APISIX's standalone format.
    File(PathBuf),
}

impl Source {
    /// The directory above all keys.
    #[must_use]
    pub fn prefix(&self) -> &str {
        match self {
            Self::Etcd(etcd) => &etcd.prefix,
            Self::File(_) => "/apisix",
        }
    }

    /// How the source is trusted, and who the gateway is to it.
    #[must_use]
    pub fn tls(&self) -> &SourceTls {
        static NONE: LazyLock<SourceTls> = LazyLock::new(SourceTls::default);
        match self {
            Self::Etcd(etcd) => &etcd.tls,
            Self::File(_) => &NONE,
        }
    }
}

/// The key that says which plugins run, the only one without a directory.
pub const PLUGINS: &str = "plugins";

/// One key and its new value; None means deleted. Keys come without the prefix: `routes/7`.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: String,
    pub value: Option<Arc<[u8]>>,
}

/// What the source reports, in order.
#[derive(Debug, PartialEq)]
pub enum Update {
    /// Everything there is at this revision; what is not listed does not exist.
    Full { revision: i64, entries: Vec<Change> },
    /// What happened up to this revision since the last update.
    Changes { revision: i64, changes: Vec<Change> },
    /// The source answers, or does not answer any more, and why.
    Reachable(Result<(), String>),
}

/// How often is asked how far a watch has come; a watch that has not said a word when it is asked
/// again is given up.
const CHECK: Duration = Duration::from_secs(3);
/// Reading everything is much work: shortest time from one doubt to the next.
const PATIENCE: Duration = Duration::from_secs(5);

/// What makes a gateway doubt that it has everything.
pub struct Doubts {
    /// Changes whenever the control plane says that what is in force is not what should be.
    pub raised: watch::Receiver<u64>,
    /// The source numbers changes of this directory only, so that no number may be missing.
    pub gapless: bool,
}

impl Doubts {
    async fn raised(&mut self, not_before: Instant) {
        tokio::time::sleep_until(not_before).await;
        if self.raised.changed().await.is_err() {
            // Nobody is there to raise any.
            std::future::pending::<()>().await;
        }
    }
}

/// Follows the source until `shutdown`.
pub async fn follow(
    source: Source,
    doubts: Doubts,
    updates: mpsc::Sender<Update>,
    shutdown: CancellationToken,
) {
    let work = async {
        match source {
            Source::Etcd(etcd) => follow_etcd(&etcd, doubts, &updates).await,
            Source::File(path) => file::follow(&path, &updates).await,
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// From connection to connection, until nobody listens any more.
async fn follow_etcd(etcd: &Etcd, doubts: Doubts, updates: &mpsc::Sender<Update>) {
    let mut pace = Pace::default();
    let mut follower = Follower { position: None, doubts, trusting: Instant::now() };
    for attempt in 0_usize.. {
        let lost = match follower.attend(etcd, attempt, updates, &mut pace).await {
            Ok(()) => return,
            Err(lost) => lost,
        };
        tracing::warn!(reason = %lost, "the configuration source is lost");
        match lost {
            Lost::History => follower.position = None,
            Lost::Doubt(_) => {
                follower.position = None;
                follower.trusting = Instant::now() + PATIENCE;
            }
            other => {
                if updates.send(Update::Reachable(Err(other.to_string()))).await.is_err() {
                    return;
                }
            }
        }
        pace.wait().await;
    }
}

struct Follower {
    /// The last revision that was told, if what was told is whole.
    position: Option<i64>,
    doubts: Doubts,
    /// Until when doubts have to wait.
    trusting: Instant,
}

impl Follower {
    /// One connection, from its first answer to its loss. Ok when nobody listens any more.
    async fn attend(
        &mut self,
        source: &Etcd,
        attempt: usize,
        updates: &mpsc::Sender<Update>,
        pace: &mut Pace,
    ) -> Result<(), Lost> {
        let mut client = Client::connect(source, attempt).await?;
        let mut position = match self.position {
            Some(revision) => revision,
            None => {
                let (revision, entries) = client.range().await?;
                if updates.send(Update::Full { revision, entries }).await.is_err() {
                    return Ok(());
                }
                revision
            }
        };
        self.position = Some(position);
        let mut watch = client.watch(position + 1).await?;
        loop {
            let update = match self.event(&mut watch).await? {
                Event::Created { revision } if revision < position => return Err(Lost::History),
                Event::Created { .. } => {
                    pace.reset();
                    Update::Reachable(Ok(()))
                }
                Event::Changes { first, .. } if self.doubts.gapless && first > position + 1 => {
                    return Err(Lost::Doubt("a change did not arrive"));
                }
                Event::Changes { revision, changes, .. } => {
                    position = revision;
                    self.position = Some(revision);
                    Update::Changes { revision, changes }
                }
                Event::Progress { revision } if self.doubts.gapless && revision > position => {
                    return Err(Lost::Doubt("a change did not arrive"));
                }
                Event::Progress { .. } => continue,
            };
            if updates.send(update).await.is_err() {
                return Ok(());
            }
        }
    }

    /// The next event, or the reason not to wait for it any longer.
    async fn event(&mut self, watch: &mut Watch) -> Result<Event, Lost> {
        let mut asked = false;
        loop {
            tokio::select! {
                event = watch.next() => return event,
                () = self.doubts.raised(self.trusting) => {
                    return Err(Lost::Doubt("the control plane misses something here"));
                }
                () = tokio::time::sleep(CHECK), if self.doubts.gapless => {
                    if asked {
                        return Err(Lost::Protocol("the watch has fallen silent"));
                    }
                    watch.ask()?;
                    asked = true;
                }
            }
        }
    }
}
