//! Brings the configuration here: reads everything at one revision, then follows the changes.
//! What a value means is not known here.

mod client;
mod file;
mod pace;

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use client::{Client, Event, Lost};
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

/// Follows the source until `shutdown`.
pub async fn follow(source: Source, updates: mpsc::Sender<Update>, shutdown: CancellationToken) {
    let work = async {
        match source {
            Source::Etcd(etcd) => follow_etcd(&etcd, &updates).await,
            Source::File(path) => file::follow(&path, &updates).await,
        }
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// From connection to connection, until nobody listens any more.
async fn follow_etcd(etcd: &Etcd, updates: &mpsc::Sender<Update>) {
    let mut pace = Pace::default();
    let mut position = None;
    for attempt in 0_usize.. {
        let lost = match attend(etcd, attempt, &mut position, updates, &mut pace).await {
            Ok(()) => return,
            Err(lost) => lost,
        };
        tracing::warn!(reason = %lost, "the configuration source is lost");
        if matches!(lost, Lost::History) {
            position = None;
        } else if updates.send(Update::Reachable(Err(lost.to_string()))).await.is_err() {
            return;
        }
        pace.wait().await;
    }
}

/// One connection, from its first answer to its loss. Ok when nobody listens any more.
async fn attend(
    source: &Etcd,
    attempt: usize,
    position: &mut Option<i64>,
    updates: &mpsc::Sender<Update>,
    pace: &mut Pace,
) -> Result<(), Lost> {
    let mut client = Client::connect(source, attempt).await?;
    let revision = match *position {
        Some(revision) => revision,
        None => {
            let (revision, entries) = client.range().await?;
            if updates.send(Update::Full { revision, entries }).await.is_err() {
                return Ok(());
            }
            *position.insert(revision)
        }
    };
    let mut watch = client.watch(revision + 1).await?;
    loop {
        match watch.next().await? {
            Event::Created { revision: newest } if newest < revision => return Err(Lost::History),
            Event::Created { .. } => {
                pace.reset();
                if updates.send(Update::Reachable(Ok(()))).await.is_err() {
                    return Ok(());
                }
            }
            Event::Changes { revision, changes } => {
                *position = Some(revision);
                if updates.send(Update::Changes { revision, changes }).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
