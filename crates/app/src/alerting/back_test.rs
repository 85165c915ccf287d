//! How often a policy would have told an alert in the last days: the code that decides for running
//! policies, asked about each moment at which it would have been asked.

use std::collections::VecDeque;

use gantry_model::alert_policy::{AlertPolicyBasicInfo, BackTest, TriggerSettings};
use gantry_model::{Error, Id, Result, Timestamp};

use super::conditions::{Verdict, judge};
use super::facts::Past;
use crate::{App, Cx, alert_policy};

/// How far back it looks: as long as metrics are kept by default.
const DAYS: i64 = 15;
/// What is loaded at once.
const DAY_S: i64 = 86_400;
/// Times that are told.
const TIMES_MAX: usize = 100;

/// Needs the policy's interval and triggers; it may be off and have no webhooks yet.
pub async fn back_test(cx: &Cx, cluster: Id, id: Id) -> Result<BackTest> {
    let mut tx = cx.app.db.read().await?;
    cx.see_cluster(&mut tx, cluster).await?;
    let policy = alert_policy::find(&cx.app, &mut tx, cluster, id).await?;
    drop(tx);
    let (Some(info), Some(triggers)) = (policy.spec.basic_info, policy.spec.triggers) else {
        return Err(Error::conflict(
            "the policy needs basic information such as `check_interval`, and triggers, before it \
             can be tested",
        ));
    };
    run(&cx.app, cluster, info, triggers).await
}

async fn run(
    app: &App,
    cluster: Id,
    info: AlertPolicyBasicInfo,
    triggers: TriggerSettings,
) -> Result<BackTest> {
    let end = app.now();
    let interval = i64::from(info.check_interval).max(1);
    let count = DAYS * DAY_S / interval;
    let moments: Vec<Timestamp> =
        (0..=count).rev().map(|before| end.plus_seconds(-before * interval)).collect();
    let start = moments.first().copied().unwrap_or(end);
    let mut past = Past::load(app, cluster, &triggers, start).await?;
    let mut tally = Tally::default();
    let at_once = usize::try_from(DAY_S / interval).unwrap_or(1).max(1);
    for moments in moments.chunks(at_once) {
        let part = past.part(app, cluster, &triggers, moments).await?;
        let (triggers, once) = (triggers.clone(), info.suppress_repeats);
        let work = move || {
            past.look(&part, |facts| tally.add(&judge(&triggers, facts), facts.now, once));
            (past, tally)
        };
        (past, tally) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
    }
    let (start, end) = (start.seconds(), end.seconds());
    let checks = moments.len() as u64;
    let Tally { fired, times, reason, .. } = tally;
    Ok(BackTest { start, end, checks, fired, times: times.into(), reason })
}

/// What has come out so far.
#[derive(Default)]
struct Tally {
    fired: u64,
    firing: bool,
    times: VecDeque<i64>,
    reason: Option<String>,
}

impl Tally {
    /// `once`: an alert is told once for as long as it lasts.
    fn add(&mut self, verdict: &Verdict, time: Timestamp, once: bool) {
        if verdict.fires && !(self.firing && once) {
            self.fired += 1;
            self.times.push_back(time.seconds());
            self.times.drain(..self.times.len().saturating_sub(TIMES_MAX));
            let summaries = verdict.events.values().map(|event| event.summary.as_str());
            self.reason = Some(summaries.collect::<Vec<_>>().join("; "));
        }
        self.firing = verdict.fires;
    }
}
