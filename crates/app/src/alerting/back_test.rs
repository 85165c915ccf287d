//! How often a policy would have told an alert in the last days: the code that decides for running
//! policies, asked about each moment at which it would have been asked.

use std::collections::{BTreeMap, VecDeque};

use gantry_model::alert_policy::{AlertPolicyBasicInfo, BackTest, TriggerSettings};
use gantry_model::{Error, Id, Result, Timestamp};

use super::conditions::{judge, windows};
use super::facts::Past;
use crate::metrics::{self, Answers};
use crate::{App, Cx, alert_policy};

/// How far back it looks: as long as metrics are kept by default.
const DAYS: i64 = 15;
/// Moments that are loaded at once; a day of the shortest interval.
const MOMENTS_AT_ONCE: usize = 1440;
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
    run(&cx.app, cluster, &info, &triggers).await
}

async fn run(
    app: &App,
    cluster: Id,
    info: &AlertPolicyBasicInfo,
    triggers: &TriggerSettings,
) -> Result<BackTest> {
    let end = app.now();
    let interval = i64::from(info.check_interval).max(1);
    let count = DAYS * 86_400 / interval;
    let moments: Vec<Timestamp> =
        (0..=count).rev().map(|before| end.plus_seconds(-before * interval)).collect();
    let start = moments.first().copied().unwrap_or(end);
    let mut past = Past::load(app, cluster, start, end).await?;
    let mut times = VecDeque::new();
    let (mut fired, mut firing, mut reason) = (0, false, None);
    for part in moments.chunks(MOMENTS_AT_ONCE) {
        let mut answers = counted(app, cluster, triggers, part).await?.into_iter();
        for moment in part {
            let facts = past.at(*moment, answers.next().unwrap_or_default());
            let verdict = judge(triggers, &facts);
            if verdict.fires && !(firing && info.suppress_repeats) {
                fired += 1;
                times.push_back(moment.seconds());
                times.drain(..times.len().saturating_sub(TIMES_MAX));
                let summaries = verdict.events.values().map(|event| event.summary.as_str());
                reason = Some(summaries.collect::<Vec<_>>().join("; "));
            }
            firing = verdict.fires;
        }
    }
    let (start, end) = (start.seconds(), end.seconds());
    let checks = moments.len() as u64;
    Ok(BackTest { start, end, checks, fired, times: times.into(), reason })
}

/// For each moment, the answers in each window that the conditions look at.
async fn counted(
    app: &App,
    cluster: Id,
    triggers: &TriggerSettings,
    moments: &[Timestamp],
) -> Result<Vec<BTreeMap<i64, Answers>>> {
    let mut all = vec![BTreeMap::new(); moments.len()];
    for window in windows(triggers) {
        let counted = metrics::answers(app, cluster, window, moments).await?;
        for (facts, answers) in all.iter_mut().zip(counted) {
            facts.insert(window, answers);
        }
    }
    Ok(all)
}
