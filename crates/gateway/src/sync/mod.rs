//! Brings the configuration here: reads everything at one revision, then follows the changes.
//! What a value means is not known here.

mod client;
mod pace;

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use client::{Client, Event, Lost};
pub use client::{Login, Source, SourceTls};
use pace::Pace;

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

/// Follows the source until `shutdown`, from connection to connection.
pub async fn follow(source: Source, updates: mpsc::Sender<Update>, shutdown: CancellationToken) {
    let work = async {
        let mut pace = Pace::default();
        let mut position = None;
        for attempt in 0_usize.. {
            let lost = match attend(&source, attempt, &mut position, &updates, &mut pace).await {
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
    };
    tokio::select! {
        () = work => {}
        () = shutdown.cancelled() => {}
    }
}

/// One connection, from its first answer to its loss. Ok when nobody listens any more.
async fn attend(
    source: &Source,
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
