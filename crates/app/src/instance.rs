//! Gateway instances as they are listed: what they said last, and how that fits their cluster now.
//! Those that do not report are noticed by what they do over etcd.

use std::collections::{BTreeMap, BTreeSet};

use gantry_model::instance::{
    Behind, Heartbeat, Instance, InstanceStatus, LOST_AFTER_S, PURGE_AFTER_S, Source,
};
use gantry_model::{Error, Id, Page, Result, Timestamp};
use gantry_store::instance::{self, InstanceRow};
use gantry_store::{Tx, revision};

use crate::{App, Cx};

/// Instances of a cluster that are known at once; those that are silent for a week are forgotten.
pub(crate) const INSTANCES_MAX: i64 = 10_000;
/// Longest text that is kept of what a gateway writes about itself.
const TEXT_BYTES_MAX: usize = 256;

/// All instances of a cluster that were seen in the last seven days.
pub async fn list(cx: &Cx, id: Id) -> Result<Page<Instance>> {
    let mut tx = cx.app.db.snapshot().await?;
    cx.see_cluster(&mut tx, id).await?;
    let now = cx.app.now();
    let oldest = now.plus_seconds(-PURGE_AFTER_S);
    let bounds = revision::bounds(&mut tx, id).await?;
    let mut log = Log {
        cluster: id,
        newest: bounds.map_or(0, |(newest, _)| newest),
        now,
        seen: BTreeMap::new(),
    };
    let mut list = Vec::new();
    for (report, row) in known(&mut tx, id).await? {
        if row.last_seen_time >= oldest {
            let behind = log.behind(&mut tx, &row).await?;
            list.push(view(report, row, behind, now));
        }
    }
    let count = i64::try_from(list.len()).unwrap_or(i64::MAX);
    Ok(Page { list, count })
}

/// The cluster's log, as far as instances are behind it.
struct Log {
    cluster: Id,
    newest: i64,
    now: Timestamp,
    /// When the revision after this one was committed: many instances stand at the same one.
    seen: BTreeMap<i64, Timestamp>,
}

impl Log {
    async fn behind(&mut self, tx: &mut Tx, row: &InstanceRow) -> Result<Option<Behind>> {
        let at = row.config_version;
        if at == 0 || at >= self.newest {
            return Ok(None);
        }
        let since = match self.seen.get(&at) {
            Some(since) => *since,
            None => {
                let next = revision::next(tx, self.cluster, at).await?;
                *self.seen.entry(at).or_insert(next.map_or(self.now, |next| next.created_at))
            }
        };
        let seconds = (self.now.seconds() - since.seconds()).max(0);
        Ok(Some(Behind { revisions: self.newest - at, seconds }))
    }
}

/// Leaves out what is only a connection from where a known instance is: it is that instance's. `ip`
/// is where an instance says it is; it may be wrong, or inside another network.
pub(crate) fn without_shadows<T>(
    all: &mut Vec<T>,
    row: impl Fn(&T) -> &InstanceRow,
    ip: impl Fn(&T) -> &str,
) {
    let is_connection = |one: &T| Source::named(&row(one).source) == Source::Connection;
    let known = all.iter().filter(|one| !is_connection(one));
    let places: BTreeSet<String> =
        known.flat_map(|one| [ip(one).to_owned(), row(one).address.clone()]).collect();
    all.retain(|one| !is_connection(one) || !places.contains(ip(one)));
}

/// Every instance of a cluster by its last word, connections of known ones left out.
pub(crate) async fn known(tx: &mut Tx, cluster: Id) -> Result<Vec<(Heartbeat, InstanceRow)>> {
    let mut known = Vec::new();
    for row in instance::list(tx, cluster).await? {
        let report: Heartbeat = serde_json::from_str(&row.report).map_err(Error::internal)?;
        known.push((report, row));
    }
    without_shadows(&mut known, |(_, row)| row, |(report, _)| &report.ip);
    Ok(known)
}

/// A gateway that does not report, and what is known of it.
#[derive(Clone, Debug)]
pub struct Noticed {
    pub id: String,
    pub hostname: String,
    pub ip: String,
    pub version: String,
    /// Changes with every start; empty if nobody knows.
    pub run: String,
    pub source: Source,
}

/// The id of who is only connected.
#[must_use]
pub fn connection_id(address: &str) -> String {
    format!("apisix@{address}")
}

/// Notes that these are there. What an instance reports itself counts more, while it does, and its
/// connections are not told at all.
pub async fn notice(app: &App, cluster: Id, mut noticed: Vec<Noticed>) -> Result<()> {
    if noticed.is_empty() {
        return Ok(());
    }
    let now = app.now();
    let lately = now.plus_seconds(-LOST_AFTER_S);
    let reporting = instance::addresses(&mut app.db.read().await?, cluster, lately).await?;
    noticed.retain(|one| one.source != Source::Connection || !reporting.contains(&one.ip));
    let rows: Vec<InstanceRow> =
        noticed.into_iter().filter(is_plausible).map(|one| row(one, now)).collect::<Result<_>>()?;
    app.db
        .write(move |tx| {
            Box::pin(async move {
                let mut full = false;
                for row in rows {
                    if instance::find(tx, cluster, &row.id).await?.is_none() {
                        full = full || !has_room(tx, cluster, now).await?;
                        if full {
                            continue;
                        }
                    }
                    instance::put_unless_reporting(tx, cluster, &row, lately).await?;
                }
                Ok(())
            })
        })
        .await
}

/// Whether a cluster may have one more instance: one that is lost makes room.
pub(crate) async fn has_room(tx: &mut Tx, cluster: Id, now: Timestamp) -> Result<bool> {
    let lost = now.plus_seconds(-LOST_AFTER_S);
    Ok(instance::count(tx, cluster).await? < INSTANCES_MAX
        || instance::forget_silent(tx, cluster, lost).await?)
}

/// What a gateway writes about itself is not checked by anybody else.
fn is_plausible(one: &Noticed) -> bool {
    let texts = [&one.id, &one.hostname, &one.version];
    !one.id.is_empty()
        && texts.iter().all(|text| text.len() <= TEXT_BYTES_MAX && !text.contains('\0'))
}

fn row(one: Noticed, now: Timestamp) -> Result<InstanceRow> {
    let report = Heartbeat {
        id: one.id.clone(),
        hostname: one.hostname,
        ip: one.ip,
        domain: String::new(),
        api_calls: 0,
        api_calls_total: None,
        version: one.version,
        etcd_reachable: true,
        config_version: 0,
        ports: Vec::new(),
        digest: String::new(),
        problems: Vec::new(),
    };
    Ok(InstanceRow {
        id: one.id,
        run_id: one.run,
        report: serde_json::to_string(&report).map_err(Error::internal)?,
        source: one.source.name().to_owned(),
        config_version: 0,
        differs: false,
        address: String::new(),
        certificate: None,
        api_calls: 0,
        register_time: now,
        run_started_at: now,
        last_seen_time: now,
    })
}

fn view(
    mut report: Heartbeat,
    row: InstanceRow,
    behind: Option<Behind>,
    now: Timestamp,
) -> Instance {
    report.api_calls = row.api_calls;
    let silence_s = now.seconds() - row.last_seen_time.seconds();
    Instance {
        status: InstanceStatus::of(silence_s, report.etcd_reachable),
        report,
        last_seen_time: row.last_seen_time,
        register_time: row.register_time,
        source: Source::named(&row.source),
        run_id: row.run_id,
        run_start_time: row.run_started_at,
        uptime: (row.last_seen_time.seconds() - row.run_started_at.seconds()).max(0),
        behind,
        differs: row.differs,
    }
}
