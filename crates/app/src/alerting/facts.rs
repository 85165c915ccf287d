//! Gathers what conditions look at: heartbeats and certificates from the database, answers from the
//! metrics. A look at one moment and at many of the past differ only here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use gantry_model::alert_policy::TriggerSettings;
use gantry_model::config::CertificateSpec;
use gantry_model::instance::PURGE_AFTER_S;
use gantry_model::{Id, Result, Timestamp};
use gantry_store::resource::{self, Kind};
use gantry_store::{Tx, gateway};

use super::conditions::{Expiry, Facts, Sighting, windows};
use crate::metrics::{self, Answers};
use crate::object::Stored;
use crate::{App, certificate, object};

/// A certificate and since when it is known.
struct Known {
    expiry: Expiry,
    since: Timestamp,
}

/// What the database knows of a cluster.
struct Ground {
    /// By id: name and the last heartbeat.
    instances: BTreeMap<String, Sighting>,
    join_certificates: Vec<Known>,
    certificates: Vec<Known>,
}

/// Facts of now.
pub(super) async fn present(
    app: &App,
    cluster: Id,
    triggers: &TriggerSettings,
    now: Timestamp,
) -> Result<Facts> {
    let Ground { instances, join_certificates, certificates } =
        ground(app, &mut app.db.read().await?, cluster).await?;
    let mut answers = BTreeMap::new();
    for window in windows(triggers) {
        let counted = metrics::answers(app, cluster, window, &[now]).await?;
        answers.extend(counted.into_iter().next().map(|counted| (window, counted)));
    }
    let expiries = |known: Vec<Known>| known.into_iter().map(|one| one.expiry).collect();
    Ok(Facts {
        now,
        instances: instances.into_values().collect(),
        join_certificates: expiries(join_certificates),
        certificates: expiries(certificates),
        answers,
    })
}

async fn ground(app: &App, tx: &mut Tx, cluster: Id) -> Result<Ground> {
    let mut instances = BTreeMap::new();
    for (report, row) in crate::instance::known(tx, cluster).await? {
        let name = format!("{} ({})", report.hostname, report.id).into();
        instances.insert(row.id, Sighting { name, last_seen: row.last_seen_time });
    }
    let joining = gateway::certificates_in_use(tx, cluster).await?;
    let join_certificates = joining.into_iter().map(|row| Known {
        expiry: Expiry { name: row.serial.into(), not_after: row.not_after },
        since: row.created_at,
    });
    let uploaded = resource::all(tx, Kind::Certificate, cluster).await?;
    let uploaded: Vec<Stored<CertificateSpec>> = object::opened_all(app, uploaded)?;
    let certificates = uploaded.into_iter().map(|stored| {
        let facts = certificate::facts(&stored.spec.certificate, "certificate")?;
        let name = facts.snis.first().unwrap_or(&facts.subject).as_str().into();
        let expiry = Expiry { name, not_after: facts.not_after };
        Ok(Known { expiry, since: stored.row.created_at })
    });
    Ok(Ground {
        instances,
        join_certificates: join_certificates.collect(),
        certificates: certificates.collect::<Result<_>>()?,
    })
}

/// What is known of a cluster's past. Gateways were there when they reported metrics, and
/// certificates since they were made or uploaded; those that are gone by now are not known.
pub(super) struct Past {
    ground: Ground,
    /// By instance; consumed as time goes on.
    sightings: BTreeMap<String, VecDeque<Timestamp>>,
}

impl Past {
    pub(super) async fn load(
        app: &App,
        cluster: Id,
        start: Timestamp,
        end: Timestamp,
    ) -> Result<Self> {
        let ground = ground(app, &mut app.db.read().await?, cluster).await?;
        let earliest = start.plus_seconds(-PURGE_AFTER_S);
        let sightings = metrics::sightings(app, cluster, earliest, end).await?;
        let sightings = sightings.into_iter().map(|(id, times)| (id, times.into())).collect();
        Ok(Self { ground, sightings })
    }

    /// Facts of a moment, which must not be before the one that was asked for last.
    pub(super) fn at(&mut self, now: Timestamp, answers: BTreeMap<i64, Answers>) -> Facts {
        let known = |all: &[Known]| {
            let by_then = all.iter().filter(|one| one.since <= now);
            by_then.map(|one| one.expiry.clone()).collect()
        };
        let mut instances = Vec::new();
        for (id, times) in &mut self.sightings {
            while times.get(1).is_some_and(|next| *next <= now) {
                times.pop_front();
            }
            let Some(last_seen) = times.front().copied().filter(|time| *time <= now) else {
                continue;
            };
            let known = self.ground.instances.get(id);
            let name = known.map_or_else(|| Arc::from(id.as_str()), |one| Arc::clone(&one.name));
            instances.push(Sighting { name, last_seen });
        }
        Facts {
            now,
            instances,
            join_certificates: known(&self.ground.join_certificates),
            certificates: known(&self.ground.certificates),
            answers,
        }
    }
}
