//! Alerts at work: looks at policies that are due, decides, and delivers what was decided.
//!
//! A check and its outcome are one transaction: it moves the policy's due time on and writes an entry
//! of the history for each receiver, which is at the same time what is to be sent. The due time is
//! compared when it is moved, so of any number of servers that look at a policy at once, one decides.
//! Nobody holds anything between transactions: a server that is killed leaves no lock behind, loses
//! nothing that was decided and decides nothing twice. An entry whose delivery broke off is sent
//! again, with the same id.

mod back_test;
mod conditions;
mod deliver;
mod evaluate;
mod facts;
mod guard;
pub(crate) mod post;
mod trial;

use std::time::Duration;

use gantry_model::Result;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

pub use back_test::back_test;
pub use deliver::due as deliver_due;
pub use evaluate::due as check_due;
pub use guard::AllowedNetworks;
pub use trial::trial;

use self::deliver::Deliveries;
use crate::{App, telemetry};

/// How often policies and deliveries that are due are asked for.
const EVERY: Duration = Duration::from_secs(1);
/// Many policies may be due at once, and look at much.
const PATIENCE: Duration = Duration::from_secs(300);

/// How alerts are evaluated and sent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Networks that webhooks may lead to although they are not public.
    pub allowed_networks: AllowedNetworks,
    /// Time between the checks of every policy, whatever it says itself; for tests.
    pub interval: Option<Duration>,
    /// Longest that a receiver of webhooks may take, if not 10 seconds; for tests.
    pub patience: Option<Duration>,
}

/// What checks and deliveries share.
pub(crate) struct Alerting {
    poster: post::Poster,
    interval: Option<Duration>,
    checks: Notify,
    deliveries: Notify,
}

impl Alerting {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            poster: post::Poster::new(
                options.allowed_networks,
                options.patience.unwrap_or(post::TIMEOUT),
            ),
            interval: options.interval,
            checks: Notify::new(),
            deliveries: Notify::new(),
        }
    }

    /// A policy may be due now.
    pub(crate) fn policy_changed(&self) {
        self.checks.notify_one();
    }
}

/// Checks and delivers until `shutdown`, starting now; what is under way then is finished.
pub async fn run(app: App, shutdown: CancellationToken) {
    let Alerting { checks, deliveries, interval, .. } = &app.alerting;
    let every = interval.map_or(EVERY, |interval| interval.clamp(Duration::from_millis(1), EVERY));
    let (checking, delivering) = (
        telemetry::task(&app, "alert policies", PATIENCE),
        telemetry::task(&app, "alert deliveries", PATIENCE),
    );
    tokio::join!(
        async {
            let mut tick = tokio::time::interval(every);
            while next(&shutdown, &mut tick, checks).await {
                note(&checking, &check_due(&app).await);
            }
        },
        async {
            let (mut tick, mut under_way) = (tokio::time::interval(every), Deliveries::default());
            while next(&shutdown, &mut tick, deliveries).await {
                note(&delivering, &under_way.begin(&app).await);
            }
            under_way.finish().await;
        },
    );
}

/// Waits until it is time for another look; `false` at the end.
async fn next(shutdown: &CancellationToken, tick: &mut Interval, nudge: &Notify) -> bool {
    // A look that took long is followed by a pause.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::select! {
        () = shutdown.cancelled() => false,
        _ = tick.tick() => true,
        () = nudge.notified() => true,
    }
}

fn note(task: &telemetry::Task, outcome: &Result<()>) {
    task.ended(outcome);
    if let Err(error) = outcome {
        let error = error as &dyn std::error::Error;
        tracing::error!(error, "alerts could not be looked after; trying again");
    }
}
