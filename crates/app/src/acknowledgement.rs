//! What a gateway's report says about the revision it uses, held against the log: a receipt to keep,
//! or that the gateway uses something else and has to read everything again.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use gantry_model::instance::{Heartbeat, Problem};
use gantry_model::{Error, Id, Result, Timestamp};
use gantry_store::cluster::ClusterRow;
use gantry_store::instance::InstanceRow;
use gantry_store::receipt::{self, ReceiptRow};
use gantry_store::{Tx, revision};
use serde_json::json;

use crate::audit::{self, Entry, Ledger};
use crate::gateway::Identity;
use crate::{Actor, App, Cx};

/// Seconds after which a revision that a connected gateway lacks must have got lost on the way: a
/// gateway that compiles a large configuration needs less.
const STALLED_S: i64 = 5;

/// Seconds until an instance that still lacks a revision is told again to read everything.
const RESYNC_AGAIN_S: i64 = 30;

/// Problems kept with one receipt.
const PROBLEMS_MAX: usize = 100;

/// The outcome of weighing one report.
#[derive(Default)]
pub(crate) struct Acknowledgement {
    /// The gateway uses something else than its revision says.
    pub(crate) differs: bool,
    /// It has to read everything again.
    pub(crate) resync: bool,
    /// It lacks a revision, and is told so at this time.
    told: Option<(String, Timestamp)>,
    receipt: Option<ReceiptRow>,
    audit: Option<Entry>,
}

/// Weighs the report of an instance of `cluster`.
pub(crate) async fn weigh(
    tx: &mut Tx,
    app: &App,
    cluster: &ClusterRow,
    known: Option<&InstanceRow>,
    run_id: &str,
    report: &Heartbeat,
    now: Timestamp,
) -> Result<Acknowledgement> {
    if report.config_version == 0 {
        return Ok(Acknowledgement::default());
    }
    let previous = known.map(said).transpose()?;
    let same_run = known.is_some_and(|row| row.run_id == run_id);
    let is_news = !same_run || previous.as_ref().is_none_or(|previous| differ(previous, report));
    let expected = expected_digest(tx, cluster, report.config_version).await?;
    let differs = match &expected {
        Expected::Digest(digest) => !report.digest.is_empty() && *digest != report.digest,
        Expected::NotKept => false,
        Expected::NoRevision => true,
    };
    let mut outcome = Acknowledgement { differs, resync: differs, ..Acknowledgement::default() };
    if differs && is_news {
        outcome.audit = Some(entry(report, &expected));
    } else if is_news && !differs {
        outcome.receipt = Some(made(tx, cluster.id, previous.as_ref(), report, now).await?);
    }
    if !differs
        && is_stalled(tx, app, cluster, report, now).await?
        && app.resyncs.is_due(cluster.id, &report.id, now)
    {
        outcome.resync = true;
        outcome.told = Some((report.id.clone(), now));
    }
    Ok(outcome)
}

impl Acknowledgement {
    /// Keeps what is new, in the transaction that notes the report, and wakes who waits for it.
    pub(crate) async fn keep(self, tx: &mut Tx, app: &App, identity: &Identity) -> Result<()> {
        let cluster = identity.cluster;
        if let Some(row) = &self.receipt {
            receipt::put(tx, cluster, row).await?;
            let app = app.clone();
            tx.after_commit(move || app.waiters.wake(cluster));
        }
        if let Some((instance, now)) = self.told {
            let app = app.clone();
            tx.after_commit(move || app.resyncs.note(cluster, instance, now));
        }
        if let Some(entry) = self.audit {
            let cx =
                Cx::new(app, Actor::Gateway(identity.clone()), "reportHeartbeat", String::new());
            let ledger = Ledger::Cluster { org: identity.org, id: cluster };
            audit::append(tx, &cx, None, [(ledger, vec![entry])].into()).await?;
        }
        Ok(())
    }
}

/// What an instance said the last time.
fn said(row: &InstanceRow) -> Result<Heartbeat> {
    serde_json::from_str(&row.report).map_err(Error::internal)
}

fn differ(one: &Heartbeat, other: &Heartbeat) -> bool {
    (one.config_version, &one.digest, &one.problems)
        != (other.config_version, &other.digest, &other.problems)
}

enum Expected {
    Digest(String),
    /// The revision is older than digests are.
    NotKept,
    /// The cluster has no such revision; its database may be an older copy.
    NoRevision,
}

async fn expected_digest(tx: &mut Tx, cluster: &ClusterRow, at: i64) -> Result<Expected> {
    if at > cluster.config_version {
        return Ok(Expected::NoRevision);
    }
    if at == cluster.config_version {
        return Ok(Expected::Digest(cluster.digest.clone()));
    }
    let row = revision::find(tx, cluster.id, at).await?;
    let digest = row.map(|row| row.digest).filter(|digest| !digest.is_empty());
    Ok(digest.map_or(Expected::NotKept, Expected::Digest))
}

fn entry(report: &Heartbeat, expected: &Expected) -> Entry {
    let expected = match expected {
        Expected::Digest(digest) => Some(digest),
        Expected::NotKept | Expected::NoRevision => None,
    };
    let after = json!({
        "resync": true, "config_version": report.config_version,
        "digest": report.digest, "expected_digest": expected,
    });
    Entry { kind: "gateway_instance", id: report.id.clone(), before: None, after: Some(after) }
}

/// The receipt that a report is, with the problems that came since the one before.
async fn made(
    tx: &mut Tx,
    cluster: Id,
    previous: Option<&Heartbeat>,
    report: &Heartbeat,
    now: Timestamp,
) -> Result<ReceiptRow> {
    let at = report.config_version;
    let problems = if report.problems.is_empty() {
        Vec::new()
    } else {
        let since = receipt::revision_before(tx, cluster, &report.id, at).await?;
        brought(report, previous, since)
    };
    Ok(ReceiptRow {
        instance_id: report.id.clone(),
        revision: at,
        received_at: now,
        digest: report.digest.clone(),
        problems: serde_json::to_string(&problems).map_err(Error::internal)?,
    })
}

/// Problems of revisions after `since`. Who does not say which revision brought a problem, means the
/// one at which it showed first.
fn brought(report: &Heartbeat, previous: Option<&Heartbeat>, since: i64) -> Vec<Problem> {
    let at = report.config_version;
    let earlier = previous.filter(|previous| previous.config_version < at);
    let old: BTreeSet<&str> =
        earlier.into_iter().flat_map(|earlier| &earlier.problems).map(|one| &*one.key).collect();
    let fresh = report.problems.iter().filter_map(|problem| match problem.revision {
        0 => (!old.contains(&*problem.key)).then(|| Problem { revision: at, ..problem.clone() }),
        revision => (revision > since).then(|| problem.clone()),
    });
    fresh.take(PROBLEMS_MAX).collect()
}

/// Whether a revision is missing for longer than a delivery takes, although the way is open.
async fn is_stalled(
    tx: &mut Tx,
    app: &App,
    cluster: &ClusterRow,
    report: &Heartbeat,
    now: Timestamp,
) -> Result<bool> {
    if report.config_version >= cluster.config_version || !report.etcd_reachable {
        return Ok(false);
    }
    let before = now.plus_seconds(-STALLED_S);
    // What this server has not read for long itself, it has not handed out either.
    if !app.feeds.has_passed(cluster.id, report.config_version, before) {
        return Ok(false);
    }
    let missing = revision::next(tx, cluster.id, report.config_version).await?;
    Ok(missing.is_some_and(|row| row.created_at <= before))
}

/// Who was told to read everything again, and when: it takes a while, and is work for the database.
#[derive(Default)]
pub(crate) struct Resyncs(Mutex<HashMap<(Id, String), Timestamp>>);

impl Resyncs {
    /// Whether an instance may be told: it was not for a while.
    fn is_due(&self, cluster: Id, instance: &str, now: Timestamp) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.plus_seconds(RESYNC_AGAIN_S) > now);
        !told.contains_key(&(cluster, instance.to_owned()))
    }

    /// Notes that an instance was told.
    fn note(&self, cluster: Id, instance: String, now: Timestamp) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert((cluster, instance), now);
    }
}
