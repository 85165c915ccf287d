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
    for row in instance::list(&mut tx, id).await? {
        if row.last_seen_time >= oldest {
            let behind = log.behind(&mut tx, &row).await?;
            list.push(view(row, behind, now)?);
        }
    }
    let known = places(list.iter().map(|one| (one.source.name(), &*one.report.ip)));
    list.retain(|one| !is_shadow(&known, one.source.name(), &one.report.ip));
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

/// The addresses of instances that are known by more than a connection; each comes with how it is
/// known.
pub(crate) fn places<'i>(all: impl Iterator<Item = (&'i str, &'i str)>) -> BTreeSet<String> {
    let known = all.filter(|(source, _)| Source::named(source) != Source::Connection);
    known.map(|(_, ip)| ip.to_owned()).collect()
}

/// Whether this is only a connection from where a known instance is: it is that instance's.
pub(crate) fn is_shadow(known: &BTreeSet<String>, source: &str, ip: &str) -> bool {
    Source::named(source) == Source::Connection && known.contains(ip)
}

/// Every instance of a cluster by its last word, connections of known ones left out.
pub(crate) async fn known(tx: &mut Tx, cluster: Id) -> Result<Vec<(Heartbeat, InstanceRow)>> {
    let mut known = Vec::new();
    for row in instance::list(tx, cluster).await? {
        let report: Heartbeat = serde_json::from_str(&row.report).map_err(Error::internal)?;
        known.push((report, row));
    }
    let places = places(known.iter().map(|(report, row)| (&*row.source, &*report.ip)));
    known.retain(|(report, row)| !is_shadow(&places, &row.source, &report.ip));
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

/// Notes that these are there. What an instance reports itself counts more, while it does.
pub async fn notice(app: &App, cluster: Id, noticed: Vec<Noticed>) -> Result<()> {
    if noticed.is_empty() {
        return Ok(());
    }
    let now = app.now();
    let rows: Vec<InstanceRow> =
        noticed.into_iter().filter(is_plausible).map(|one| row(one, now)).collect::<Result<_>>()?;
    app.db
        .write(move |tx| {
            Box::pin(async move {
                for row in rows {
                    let known = instance::find(tx, cluster, &row.id).await?;
                    let reports = known.is_some_and(|known| {
                        Source::named(&known.source) == Source::Report
                            && known.last_seen_time >= now.plus_seconds(-LOST_AFTER_S)
                    });
                    if !reports {
                        instance::put(tx, cluster, &row).await?;
                    }
                }
                Ok(())
            })
        })
        .await
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
        certificate: None,
        api_calls: 0,
        register_time: now,
        run_started_at: now,
        last_seen_time: now,
    })
}

fn view(row: InstanceRow, behind: Option<Behind>, now: Timestamp) -> Result<Instance> {
    let mut report: Heartbeat = serde_json::from_str(&row.report).map_err(Error::internal)?;
    report.api_calls = row.api_calls;
    let silence_s = now.seconds() - row.last_seen_time.seconds();
    let status = InstanceStatus::of(silence_s, report.etcd_reachable);
    Ok(Instance {
        report,
        last_seen_time: row.last_seen_time,
        register_time: row.register_time,
        status,
        source: Source::named(&row.source),
        run_id: row.run_id,
        run_start_time: row.run_started_at,
        uptime: (row.last_seen_time.seconds() - row.run_started_at.seconds()).max(0),
        behind,
        differs: row.differs,
    })
}
