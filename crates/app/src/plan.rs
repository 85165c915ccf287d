//! What the plan of an organization allows.

use gantry_model::plan::Plan;
use gantry_model::{Error, ErrorCode, Id, Result};
use gantry_store::resource::Kind;
use gantry_store::{Tx, billing, organization};

use crate::{App, Cx};

/// What quotas count.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counted {
    Cluster,
    Member,
    Resource(Kind),
}

pub async fn get(cx: &Cx, org: Id) -> Result<Plan> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, org).await?;
    of(&cx.app, &mut tx, org).await
}

/// The plan whose rules hold for an organization now.
pub(crate) async fn of(app: &App, tx: &mut Tx, org: Id) -> Result<Plan> {
    let found = organization::find(tx, org).await?;
    let found = found.ok_or_else(|| Error::not_found("organization"))?;
    Ok(app.plans.of(&found, app.now()).clone())
}

/// Refuses one more where the plan has reached its limit. The organization is locked until the
/// transaction ends, so that two who come at once cannot both be the last.
pub(crate) async fn allow_another(app: &App, tx: &mut Tx, org: Id, what: Counted) -> Result<()> {
    if app.plans.limit_nothing() {
        return Ok(());
    }
    billing::lock(tx, org).await?;
    let plan = of(app, tx, org).await?;
    let quota = match what {
        Counted::Cluster => plan.quotas.clusters.map(|limit| ("clusters", limit)),
        Counted::Member => plan.quotas.members.map(|limit| ("members", limit)),
        Counted::Resource(kind) => plan.quotas.of_kind(kind.name()),
    };
    if let Some((name, limit)) = quota {
        let count = match what {
            Counted::Cluster => billing::count_clusters(tx, org).await?,
            Counted::Member => billing::count_members(tx, org).await?,
            Counted::Resource(kind) => billing::count_resources(tx, org, kind).await?,
        };
        if count >= i64::from(limit) {
            let rest = "delete one that is not needed, or subscribe to another plan";
            return Err(exceeded(&plan, name, limit.into(), count, rest));
        }
    }
    match (what, plan.quotas.api_calls_per_month) {
        (Counted::Resource(_), Some(limit)) => refuse_heavy_users(app, tx, org, &plan, limit).await,
        _ => Ok(()),
    }
}

/// Traffic goes on when a month's API calls are used up, but nothing can be added.
async fn refuse_heavy_users(
    app: &App,
    tx: &mut Tx,
    org: Id,
    plan: &Plan,
    limit: u64,
) -> Result<()> {
    let (first, next) = app.now().month();
    let calls = billing::calls(tx, org, first, next).await?;
    if u64::try_from(calls).unwrap_or_default() < limit {
        return Ok(());
    }
    let rest = "wait for the next month, or subscribe to another plan";
    Err(exceeded(plan, "api_calls_per_month", limit, calls, rest))
}

fn exceeded(plan: &Plan, quota: &str, limit: u64, count: i64, rest: &str) -> Error {
    let plan = &plan.name;
    let message = format!(
        "the quota `{quota}` of the plan `{plan}` is {limit}, and the organization has {count}: \
         {rest}"
    );
    Error::new(ErrorCode::QuotaExceeded, message)
}

/// Refuses plugins that the plan does not include: of `uses`, pairs of where a plugin is used and
/// its names there.
pub(crate) async fn refuse_excluded<'a>(
    app: &App,
    tx: &mut Tx,
    org: Id,
    uses: impl IntoIterator<Item = (String, [&'a str; 2])>,
) -> Result<()> {
    if app.plans.exclude_nothing() {
        return Ok(());
    }
    let plan = of(app, tx, org).await?;
    let is_excluded = |name: &str| plan.excluded_plugins.iter().any(|one| one == name);
    let refused: Vec<String> = uses
        .into_iter()
        .filter_map(|(place, names)| {
            let name = names.into_iter().find(|name| is_excluded(name))?;
            Some(format!("`{place}` uses the plugin `{name}`"))
        })
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{}, which the plan `{}` does not include: subscribe to another plan",
        refused.join(", "),
        plan.name
    );
    Err(Error::new(ErrorCode::PlanRequired, message))
}
