//! What instances say about themselves, and what they are told in return.

use gantry_model::instance::{Heartbeat, HeartbeatResult, LOST_AFTER_S, Source};
use gantry_model::{Error, ErrorCode, Id, Result, Timestamp};
use gantry_store::cluster::ClusterRow;
use gantry_store::instance::InstanceRow;
use gantry_store::{Tx, billing, cluster, instance};

use crate::gateway::{Identity, Via};
use crate::instance::{INSTANCES_MAX, connection_id, has_room};
use crate::{App, acknowledgement, metrics};

/// Seconds between the heartbeats of an instance.
const INTERVAL_S: u32 = 10;
/// Seconds that a report may be overtaken by: gateways give it up then.
const LATE_S: i64 = 5;
/// Bytes of the id of a run.
const RUN_BYTES_MAX: usize = 256;

/// A heartbeat, and what came with it.
pub struct Beat {
    /// New at every start of the instance.
    pub run: String,
    /// From where it came; empty if that is not known.
    pub address: String,
    pub report: Heartbeat,
}

/// Notes what an instance says about itself; the first report registers it.
pub async fn heartbeat(app: &App, identity: &Identity, beat: Beat) -> Result<HeartbeatResult> {
    if beat.run.len() > RUN_BYTES_MAX || beat.run.contains(char::is_control) {
        let rule = format!("must be at most {RUN_BYTES_MAX} bytes without control characters");
        let example = "bb4e4f13-9c1a-4ae4-b3a9-2f7a4e0f1b1c";
        return Err(Error::invalid_field("X-APISEVEN-Run-Id", rule, example));
    }
    let (keeper, sender) = (app.clone(), identity.clone());
    let noted =
        app.db.write(move |tx| Box::pin(async move { note(tx, &keeper, &sender, beat).await }));
    let (found, resync) = noted.await?;
    let (settings, _) = crate::cluster::opened(app, &found)?;
    Ok(HeartbeatResult {
        instance_status: "online".into(),
        config_version: found.config_version,
        heartbeat_interval: INTERVAL_S,
        metrics: metrics::order(&settings),
        telemetry_collect_interval: metrics::INTERVAL_S,
        max_metrics_size: metrics::TEXT_BYTES_MAX,
        resync,
    })
}

/// Weighs a report and keeps what it says, in one transaction: reports overtake each other. Answers
/// its cluster and whether everything has to be read again.
async fn note(
    tx: &mut Tx,
    app: &App,
    identity: &Identity,
    beat: Beat,
) -> Result<(ClusterRow, bool)> {
    let Beat { run, address, mut report } = beat;
    let (id, now) = (identity.cluster, app.now());
    let found = cluster::find(tx, id).await?.ok_or_else(|| Error::not_found("cluster"))?;
    let ran_before = billing::knows_run(tx, id, &report.id, &run).await?;
    // Gateways that do not tell their total are believed what they say is new.
    let calls = match report.api_calls_total.take() {
        Some(total) => billing::advance_run(tx, id, &report.id, &run, total, now).await?,
        None => report.api_calls.max(0),
    };
    if calls > 0 {
        billing::add_calls(tx, identity.org, id, now.day(), calls).await?;
    }
    // After the run's row was written: reports of one run come one by one from there.
    let known = instance::find(tx, id, &report.id).await?;
    if let Some(known) = known.as_ref().filter(|row| is_late(row, &run, ran_before, &report, now)) {
        instance::put(tx, id, &InstanceRow { api_calls: calls, ..known.clone() }).await?;
        return Ok((found, false));
    }
    if known.is_none() && !has_room(tx, id, now).await? {
        let text = format!("the cluster has {INSTANCES_MAX} instances already");
        return Err(Error::new(ErrorCode::TooManyRequests, text));
    }
    let known = known.as_ref();
    let acknowledged = acknowledgement::weigh(tx, app, &found, known, &run, &report, now).await?;
    let resync = acknowledged.resync;
    let heard = InstanceRow {
        report: serde_json::to_string(&report).map_err(Error::internal)?,
        source: Source::Report.name().to_owned(),
        config_version: report.config_version,
        differs: acknowledged.differs,
        certificate: match &identity.via {
            Via::Certificate { serial } => Some(serial.clone()),
            Via::User { .. } => None,
        },
        api_calls: calls,
        register_time: now,
        run_started_at: now,
        last_seen_time: now,
        run_id: run,
        address,
        id: report.id,
    };
    keep(tx, id, &heard).await?;
    acknowledged.keep(tx, app, identity).await?;
    Ok((found, resync))
}

/// What was noticed of it before it spoke has a name now.
async fn keep(tx: &mut Tx, cluster: Id, heard: &InstanceRow) -> Result<()> {
    instance::put(tx, cluster, heard).await?;
    if heard.address.is_empty() {
        return Ok(());
    }
    instance::delete_connection(tx, cluster, &connection_id(&heard.address)).await
}

/// Whether a report was overtaken by what is known: by a newer one of its run that it was given up
/// for, or by the run that took over from its own.
fn is_late(
    known: &InstanceRow,
    run: &str,
    ran_before: bool,
    report: &Heartbeat,
    now: Timestamp,
) -> bool {
    let heard_since = |seconds: i64| known.last_seen_time > now.plus_seconds(-seconds);
    if known.run_id == run {
        // One that used something else than it should goes back, in the end.
        report.config_version < known.config_version && !known.differs && heard_since(LATE_S)
    } else {
        ran_before && heard_since(LOST_AFTER_S)
    }
}
