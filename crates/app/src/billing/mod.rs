//! Subscriptions, the next invoice and the customer portal; who takes the money is a [`Billing`].

mod own;
mod plans;
mod stripe;

use futures::future::BoxFuture;
use gantry_model::organization::Organization;
use gantry_model::plan::{Invoice, InvoiceLine, Plan};
use gantry_model::{Error, Id, Result};
use gantry_store::billing::{self, AccountRow};
use gantry_store::{Tx, organization};
use serde_json::json;

use crate::act::act;
use crate::audit::Ledger;
use crate::{App, Cx};

pub use plans::Plans;
pub use stripe::StripeOptions;

/// Days are counted in this many seconds.
const DAY_S: i64 = 86_400;

/// Who takes the money.
pub(crate) trait Billing: Send + Sync {
    /// Makes an organization a customer; `None` if the provider knows no customers.
    fn open<'a>(
        &'a self,
        organization: &'a Organization,
    ) -> BoxFuture<'a, Result<Option<AccountRow>>>;

    /// Puts a customer on a plan, from the one it had before. An error means that nothing changed.
    fn subscribe<'a>(&'a self, order: Order<'a>) -> BoxFuture<'a, Result<AccountRow>>;

    /// The next invoice; `metered` is what our own counters say.
    fn upcoming<'a>(
        &'a self,
        account: Option<&'a AccountRow>,
        metered: Invoice,
    ) -> BoxFuture<'a, Result<Invoice>>;

    /// Where a customer changes its payment details; `page` is our own page.
    fn portal<'a>(
        &'a self,
        account: Option<&'a AccountRow>,
        page: String,
    ) -> BoxFuture<'a, Result<String>>;
}

/// A change of plan.
pub(crate) struct Order<'a> {
    pub organization: &'a Organization,
    pub plan: &'a Plan,
    pub account: &'a AccountRow,
}

pub(crate) fn provider(stripe: Option<&StripeOptions>) -> Result<Box<dyn Billing>> {
    Ok(match stripe {
        Some(options) => Box::new(stripe::Stripe::new(options)?),
        None => Box::new(own::Own),
    })
}

/// Subscribes an organization to a plan, by its name or id. What it has beyond the new plan stays.
pub async fn subscribe(cx: &Cx, org: Id, plan: &str) -> Result<()> {
    let app = &cx.app;
    let before = seen(cx, org).await?;
    let plan = app.plans.find(plan)?.clone();
    let current = before.subscription_started_at.is_some() && before.plan_id == plan.id;
    if current && before.plan_expire_time.is_none() {
        return Err(Error::conflict(format!(
            "the organization is subscribed to the plan `{}` already",
            plan.name
        )));
    }
    let mut account = account(cx, &before).await?;
    if let (Some(known), false) = (&account, cx.dry_run) {
        let order = Order { organization: &before, plan: &plan, account: known };
        account = Some(app.billing.subscribe(order).await?);
    }
    let expires = plan.duration_days.map(|days| app.now().plus_seconds(i64::from(days) * DAY_S));
    act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            billing::set_plan(act.tx, org, plan.id, expires, act.now).await?;
            if let Some(account) = &account {
                billing::put_account(act.tx, org, account).await?;
            }
            let was =
                json!({ "plan_id": before.plan_id, "plan_expire_time": before.plan_expire_time });
            let is = json!({ "plan_id": plan.id, "plan_expire_time": expires });
            act.audit("subscription", org, Some(was), Some(is));
            Ok(())
        })
    })
    .await
}

/// What the organization will be asked to pay for this month.
pub async fn upcoming_invoice(cx: &Cx, org: Id) -> Result<Invoice> {
    let organization = seen(cx, org).await?;
    let mut tx = cx.app.db.read().await?;
    let account = billing::find_account(&mut tx, org).await?;
    let metered = metered(&cx.app, &mut tx, &organization).await?;
    drop(tx);
    cx.app.billing.upcoming(account.as_ref(), metered).await
}

/// Where the organization changes its payment details.
pub async fn customer_portal(cx: &Cx, org: Id) -> Result<String> {
    let organization = seen(cx, org).await?;
    let account = account(cx, &organization).await?;
    let page = format!("{}/billing/{org}", cx.app.public_url);
    cx.app.billing.portal(account.as_ref(), page).await
}

async fn seen(cx: &Cx, org: Id) -> Result<Organization> {
    let mut tx = cx.app.db.read().await?;
    cx.see_organization(&mut tx, org).await?;
    organization::find(&mut tx, org).await?.ok_or_else(|| Error::not_found("organization"))
}

/// The organization as a customer, made one now if need be. Providers answer the same customer when
/// they are asked twice, so that one who fails in between does no harm.
async fn account(cx: &Cx, organization: &Organization) -> Result<Option<AccountRow>> {
    let org = organization.id;
    let known = billing::find_account(&mut cx.app.db.read().await?, org).await?;
    if known.is_some() || cx.dry_run {
        return Ok(known);
    }
    let Some(opened) = cx.app.billing.open(organization).await? else { return Ok(None) };
    let row = opened.clone();
    let kept = act(cx, Ledger::Organization(org), move |act| {
        Box::pin(async move {
            billing::put_account(act.tx, org, &row).await?;
            let record = json!({ "customer": row.customer });
            act.audit("billing_account", org, None, Some(record));
            Ok(())
        })
    });
    kept.await?;
    Ok(Some(opened))
}

/// This month's API calls at the price of the plan; a subscription that began this month counts from
/// its first day.
async fn metered(app: &App, tx: &mut Tx, organization: &Organization) -> Result<Invoice> {
    let plan = app.plans.of(organization, app.now());
    let (first, next) = app.now().month();
    let since = organization.subscription_started_at.map_or(first, |start| start.day().max(first));
    let calls = billing::calls(tx, organization.id, since, next).await?;
    let amount = plan.price(calls);
    let period_end = gantry_model::Timestamp::from_day(next);
    Ok(Invoice {
        currency: plan.currency.clone(),
        amount_due: amount,
        period_start: gantry_model::Timestamp::from_day(since),
        period_end,
        next_payment_attempt: (amount > 0).then_some(period_end),
        lines: vec![InvoiceLine {
            description: format!("API calls, plan {}", plan.name),
            quantity: calls,
            amount,
        }],
    })
}
