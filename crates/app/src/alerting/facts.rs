//! Gathers what conditions look at: heartbeats and certificates from the database, answers from the
//! metrics. A look at one moment and at many of the past differ only here.

use std::collections::BTreeMap;
use std::sync::Arc;

use gantry_model::alert_policy::{TriggerCondition, TriggerSettings};
use gantry_model::config::CertificateSpec;
use gantry_model::instance::PURGE_AFTER_S;
use gantry_model::{Error, Id, Result, Timestamp};
use gantry_store::resource::{self, Kind, ResourceRow};
use gantry_store::{Tx, gateway};

use super::conditions::{Expiry, Facts, Ground, Sighting, Verdict, judge, windows};
use crate::metrics::{self, Asker, Counted, Heard};
use crate::object::Stored;
use crate::{App, certificate, object};

/// What the conditions say now.
pub(super) async fn present(
    app: &App,
    cluster: Id,
    triggers: &TriggerSettings,
    now: Timestamp,
) -> Result<Verdict> {
    let ground = ground(app, cluster, triggers).await?;
    let windows = windows(triggers);
    let counted = metrics::answers(app, Asker::Alerts, cluster, windows, &[now]).await?;
    let answers = counted.into_iter().next().unwrap_or_default();
    Ok(judge(triggers, &Facts { now, ground: &ground, answers: &answers }))
}

/// What the database knows of a cluster, as far as conditions look at it.
async fn ground(app: &App, cluster: Id, triggers: &TriggerSettings) -> Result<Ground> {
    let mut tx = app.db.read().await?;
    let mut ground = Ground::default();
    if looks(triggers, |one| matches!(one, TriggerCondition::GatewayInstanceOffline(_))) {
        for (report, row) in crate::instance::known(&mut tx, cluster).await? {
            let name = format!("{} ({})", report.hostname, report.id).into();
            ground.instances.insert(row.id, Sighting { name, last_seen: row.last_seen_time });
        }
    }
    let joining = |one: &_| matches!(one, TriggerCondition::ControlPlaneCertificateWillExpireIn(_));
    if looks(triggers, joining) {
        ground.join_certificates = join_certificates(&mut tx, cluster).await?;
    }
    let uploaded = |one: &_| matches!(one, TriggerCondition::GatewayCertificateWillExpireIn(_));
    if looks(triggers, uploaded) {
        let rows = resource::all(&mut tx, Kind::Certificate, cluster).await?;
        drop(tx);
        let app = app.clone();
        // There may be many to open and to parse.
        let read = tokio::task::spawn_blocking(move || certificates(&app, rows));
        ground.certificates = read.await.map_err(Error::internal)??;
    }
    Ok(ground)
}

fn looks(triggers: &TriggerSettings, at: impl Fn(&TriggerCondition) -> bool) -> bool {
    triggers.trigger_conditions.iter().any(at)
}

async fn join_certificates(tx: &mut Tx, cluster: Id) -> Result<Vec<Expiry>> {
    let rows = gateway::certificates_in_use(tx, cluster).await?;
    let expiry = rows.into_iter().map(|row| Expiry {
        name: row.serial.into(),
        since: row.created_at,
        not_after: row.not_after,
    });
    Ok(expiry.collect())
}

fn certificates(app: &App, rows: Vec<ResourceRow>) -> Result<Vec<Expiry>> {
    let uploaded: Vec<Stored<CertificateSpec>> = object::opened_all(app, rows)?;
    let expiry = uploaded.into_iter().map(|stored| {
        let facts = certificate::facts(&stored.spec.certificate, "certificate")?;
        let name = facts.snis.first().unwrap_or(&facts.subject).as_str().into();
        Ok(Expiry { name, since: stored.row.created_at, not_after: facts.not_after })
    });
    expiry.collect()
}

/// What is known of a cluster's past. Gateways were there when they reported metrics, and
/// certificates since they were made or uploaded; those that are gone by now are not known.
pub(super) struct Past {
    /// Its gateways are as they were at the moment that was looked at last.
    ground: Ground,
    /// How gateways that are known now are called, by their id.
    names: BTreeMap<String, Arc<str>>,
    looks_at_gateways: bool,
    /// Up to when is known when gateways were heard of.
    heard_until: Timestamp,
}

/// What was counted and heard of at some moments.
pub(super) struct Part {
    moments: Vec<Timestamp>,
    answers: Vec<Counted>,
    heard: Heard,
}

impl Past {
    /// From `start` on.
    pub(super) async fn load(
        app: &App,
        cluster: Id,
        triggers: &TriggerSettings,
        start: Timestamp,
    ) -> Result<Self> {
        let mut ground = ground(app, cluster, triggers).await?;
        let named = std::mem::take(&mut ground.instances).into_iter();
        let names = named.map(|(id, known)| (id, known.name)).collect();
        let offline = |one: &_| matches!(one, TriggerCondition::GatewayInstanceOffline(_));
        let heard_until = start.plus_seconds(-PURGE_AFTER_S);
        Ok(Self { ground, names, looks_at_gateways: looks(triggers, offline), heard_until })
    }

    /// Loads the next moments.
    pub(super) async fn part(
        &mut self,
        app: &App,
        cluster: Id,
        triggers: &TriggerSettings,
        moments: &[Timestamp],
    ) -> Result<Part> {
        let windows = windows(triggers);
        let answers = metrics::answers(app, Asker::People, cluster, windows, moments).await?;
        let heard = if self.looks_at_gateways {
            metrics::heard(app, cluster, self.heard_until, moments).await?
        } else {
            Heard::new()
        };
        self.heard_until = moments.last().copied().unwrap_or(self.heard_until);
        Ok(Part { moments: moments.to_vec(), answers, heard })
    }

    /// Calls `visit` with the facts of each moment of the part that was loaded last.
    pub(super) fn look(&mut self, part: &Part, mut visit: impl FnMut(&Facts<'_>)) {
        for (place, (now, answers)) in part.moments.iter().zip(&part.answers).enumerate() {
            for (id, heard) in &part.heard {
                let Some(last_seen) = heard.get(place).copied().flatten() else { continue };
                let known = self.ground.instances.entry(id.clone()).or_insert_with(|| {
                    let name = self.names.get(id).cloned();
                    Sighting { name: name.unwrap_or_else(|| id.as_str().into()), last_seen }
                });
                known.last_seen = known.last_seen.max(last_seen);
            }
            visit(&Facts { now: *now, ground: &self.ground, answers });
        }
    }
}
