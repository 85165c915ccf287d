//! Receipts: what became of a revision on each gateway, and writes that wait for it.
//!
//! A receipt is a gateway's own word. Who waits is woken by the heartbeats that this server takes in
//! and looks into the database; those that other servers take in are found by looking again.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use gantry_model::instance::{InstanceStatus, Problem, Source};
use gantry_model::receipt::{Delivery, Outcome, Receipt, ReceiptState, Receipts};
use gantry_model::{Error, Id, Result, Timestamp};
use gantry_store::instance::InstanceRow;
use gantry_store::receipt::{self, ReceiptRow};
use gantry_store::{Tx, cluster, revision};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::{App, Cx, instance};

/// How long receipts are kept, and for how many revisions of a cluster.
const KEEP_S: i64 = 30 * 24 * 3600;
const KEEP_REVISIONS: i64 = 1000;

/// How often is looked without being woken: another server may have taken in the heartbeat.
const POLL: Duration = Duration::from_millis(500);

/// A look costs the more the more gateways there are, and each of them wakes: the pause after one is
/// so many times as long as it took, within bounds: on a busy server looks take long for other reasons.
const PAUSE: u32 = 4;
const PAUSE_MAX: Duration = Duration::from_millis(20);

/// Most gateways that a delivery names.
const MISSING_MAX: usize = 100;

/// What a write waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Share of the gateways online that have to apply it, 1 to 100.
    pub percent: u8,
    pub timeout: Duration,
}

/// Those who wait for gateways of a cluster.
#[derive(Default)]
pub(crate) struct Waiters {
    waiting: Mutex<HashMap<Id, Weak<watch::Sender<()>>>>,
    /// The server stops; nobody waits any more.
    is_over: AtomicBool,
}

impl Waiters {
    /// Says that a gateway of the cluster has acknowledged something.
    pub(crate) fn wake(&self, cluster: Id) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        match waiting.get(&cluster).map(Weak::upgrade) {
            Some(Some(channel)) => channel.send_replace(()),
            Some(None) => {
                waiting.remove(&cluster);
            }
            None => {}
        }
    }

    /// Answers everybody now, with what is known so far.
    pub(crate) fn dismiss(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for channel in waiting.values().filter_map(Weak::upgrade) {
            channel.send_replace(());
        }
    }

    fn join(&self, cluster: Id) -> Arc<watch::Sender<()>> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = waiting.get(&cluster).and_then(Weak::upgrade) {
            return channel;
        }
        let channel = Arc::new(watch::Sender::new(()));
        waiting.insert(cluster, Arc::downgrade(&channel));
        channel
    }
}

/// What became of revision `number` of a cluster. Receipts are kept for thirty days and the newest
/// thousand revisions; of older ones only who has them is told, not since when.
pub async fn receipts(cx: &Cx, cluster: Id, number: i64) -> Result<Receipts> {
    let mut tx = cx.app.db.snapshot().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let row = revision::find(&mut tx, cluster, number).await?;
    let row = row.ok_or_else(|| Error::not_found("revision"))?;
    let newest = revision::bounds(&mut tx, cluster).await?.map_or(0, |(newest, _)| newest);
    let now = cx.app.now();
    let is_kept = row.created_at >= now.plus_seconds(-KEEP_S) && number > newest - KEEP_REVISIONS;
    let mut list = look(&mut tx, cluster, number, row.created_at, now).await?;
    for receipt in list.iter_mut().filter(|_| !is_kept) {
        (receipt.applied_at, receipt.after_ms) = (None, None);
        receipt.digest.clear();
    }
    Ok(Receipts {
        revision: number,
        committed_at: row.created_at,
        actor: row.actor,
        operation: row.operation,
        digest: row.digest,
        count: list.len(),
        list,
    })
}

/// Forgets receipts that are older than they are kept, and those of old revisions.
pub(crate) async fn forget_old(app: &App) -> Result<()> {
    let oldest = app.now().plus_seconds(-KEEP_S);
    app.db
        .write(move |tx| {
            Box::pin(async move {
                receipt::purge(tx, oldest).await?;
                for cluster in cluster::ids(tx).await? {
                    let newest =
                        revision::bounds(tx, cluster).await?.map_or(0, |(newest, _)| newest);
                    receipt::forget(tx, cluster, newest - KEEP_REVISIONS).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Waits until enough gateways have applied `number`, which is committed. Never fails: at worst the
/// answer is that time was up, also when the server stops.
pub(crate) async fn wait(app: &App, cluster: Id, number: i64, wait: Wait) -> Delivery {
    let channel = app.waiters.join(cluster);
    let mut woken = channel.subscribe();
    let deadline = Instant::now() + wait.timeout;
    let mut awaited: Option<BTreeSet<String>> = None;
    let mut delivery = Delivery {
        revision: number,
        outcome: Outcome::Timeout,
        gateways: 0,
        wanted: 0,
        applied: 0,
        missing: Vec::new(),
    };
    loop {
        let begin = Instant::now();
        woken.borrow_and_update();
        match seen(app, cluster, number).await {
            Ok(receipts) => {
                let awaited = awaited.get_or_insert_with(|| online(&receipts));
                delivery = judged(number, wait.percent, awaited, receipts);
            }
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "receipts could not be read; trying again"
            ),
        }
        let is_over = Instant::now() >= deadline || app.waiters.is_over.load(Ordering::SeqCst);
        if delivery.outcome != Outcome::Timeout || is_over {
            return delivery;
        }
        let pause = (begin.elapsed() * PAUSE).min(PAUSE_MAX);
        tokio::time::sleep_until(deadline.min(Instant::now() + pause)).await;
        // Woken or not: both lead to the next look.
        let _ = tokio::time::timeout_at(deadline.min(begin + POLL), woken.changed()).await;
    }
}

async fn seen(app: &App, cluster: Id, number: i64) -> Result<Vec<Receipt>> {
    let mut tx = app.db.read().await?;
    let now = app.now();
    let row = revision::find(&mut tx, cluster, number).await?;
    let committed_at = row.map_or(now, |row| row.created_at);
    look(&mut tx, cluster, number, committed_at, now).await
}

/// Ids of the gateways that are there to be waited for.
fn online(receipts: &[Receipt]) -> BTreeSet<String> {
    let online = receipts.iter().filter(|one| one.status.is_online());
    let online = online.filter(|one| one.state != ReceiptState::Unknown);
    online.map(|one| one.instance_id.clone()).collect()
}

/// What the receipts mean for who waits; [`Outcome::Timeout`] stands for "not yet".
fn judged(
    revision: i64,
    percent: u8,
    awaited: &BTreeSet<String>,
    receipts: Vec<Receipt>,
) -> Delivery {
    let is_awaited = |one: &&Receipt| awaited.contains(&one.instance_id);
    let count = |state| receipts.iter().filter(is_awaited).filter(|one| one.state == state).count();
    let (applied, refused) = (count(ReceiptState::Applied), count(ReceiptState::Refused));
    let gateways = awaited.len();
    let wanted = (gateways * usize::from(percent)).div_ceil(100);
    let outcome = if gateways == 0 {
        Outcome::NoGateways
    } else if applied >= wanted {
        Outcome::Applied
    } else if gateways - refused < wanted {
        Outcome::Refused
    } else {
        Outcome::Timeout
    };
    let missing = receipts.into_iter().filter(|one| match one.state {
        ReceiptState::Applied | ReceiptState::Unknown => false,
        ReceiptState::Silent => true,
        _ => awaited.contains(&one.instance_id),
    });
    let missing = missing.take(MISSING_MAX).collect();
    Delivery { revision, outcome, gateways, wanted, applied, missing }
}

/// What of a report is needed here.
#[derive(Deserialize)]
struct Said {
    hostname: String,
    ip: String,
    #[serde(default)]
    etcd_reachable: bool,
}

async fn look(
    tx: &mut Tx,
    cluster: Id,
    number: i64,
    committed_at: Timestamp,
    now: Timestamp,
) -> Result<Vec<Receipt>> {
    let mut seen = Vec::new();
    for (row, receipt) in receipt::of_revision(tx, cluster, number).await? {
        let said: Said = serde_json::from_str(&row.report).map_err(Error::internal)?;
        seen.push((said, row, receipt));
    }
    instance::without_shadows(&mut seen, |(_, row, _)| row, |(report, ..)| &report.ip);
    let views = seen
        .into_iter()
        .map(|(report, row, receipt)| view(number, report, row, receipt, (committed_at, now)));
    views.collect()
}

fn view(
    number: i64,
    report: Said,
    row: InstanceRow,
    receipt: Option<ReceiptRow>,
    (committed_at, now): (Timestamp, Timestamp),
) -> Result<Receipt> {
    let silence_s = now.seconds() - row.last_seen_time.seconds();
    let status = InstanceStatus::of(silence_s, report.etcd_reachable);
    let receipt = receipt.filter(|_| row.config_version >= number && !row.differs);
    let problems = receipt.as_ref().map(|receipt| problems(receipt, number)).transpose()?;
    let problems = problems.unwrap_or_default();
    let state = if Source::named(&row.source) != Source::Report {
        ReceiptState::Unknown
    } else if row.config_version >= number {
        match (row.differs, problems.is_empty()) {
            (true, _) => ReceiptState::Differs,
            (false, true) => ReceiptState::Applied,
            (false, false) => ReceiptState::Refused,
        }
    } else if status.is_online() {
        ReceiptState::Behind
    } else {
        ReceiptState::Silent
    };
    let applied_at = receipt.as_ref().map(|receipt| receipt.received_at);
    Ok(Receipt {
        instance_id: row.id,
        hostname: report.hostname,
        state,
        status,
        config_version: row.config_version,
        applied_at,
        after_ms: applied_at.map(|time| milliseconds(committed_at, time)),
        digest: receipt.map(|receipt| receipt.digest).unwrap_or_default(),
        problems,
    })
}

/// What of the revision itself a gateway could not use.
fn problems(receipt: &ReceiptRow, number: i64) -> Result<Vec<Problem>> {
    let all: Vec<Problem> = serde_json::from_str(&receipt.problems).map_err(Error::internal)?;
    Ok(all.into_iter().filter(|problem| problem.revision == number).collect())
}

/// Clocks of several servers differ a little: nothing is received before it is committed.
fn milliseconds(from: Timestamp, to: Timestamp) -> i64 {
    (to.micros() - from.micros()).max(0) / 1000
}
